"""The web page, served by the command and used in a real browser."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from tests.e2e.conftest import Finished, fork_in
from tests.helpers.browser import chromium

SmallRun = tuple[Path, Finished]


@contextmanager
def served(run: Path, folder: Path, *arguments: str) -> Iterator[str]:
    """The address of the page."""
    log = folder / "web.log"
    with log.open("w") as err:
        command = [sys.executable, "-m", "aaa.web", f"model={run}", "port=0", *arguments]
        process = subprocess.Popen(command, cwd=folder, stderr=err, env=os.environ | {"COLUMNS": "200"})
    try:
        for _ in range(600):
            if found := re.search(r"Open (http://127\.0\.0\.1:\d+)", log.read_text()):
                break
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        assert found is not None, log.read_text()
        yield found[1]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def test_what_cannot_be_served_is_said(tmp_path: Path, small_run: SmallRun) -> None:
    pytest.importorskip("gradio")
    assert "there is no such folder" in fork_in(tmp_path, "aaa.web", "model=nowhere").error
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert "port=0 takes any" in fork_in(tmp_path, "aaa.web", f"model={small_run[0]}", f"port={port}").error


@pytest.mark.slow
def test_the_page_draws_as_it_is_told(tmp_path: Path, small_run: SmallRun) -> None:
    """Asked as its own JavaScript asks it."""
    client = pytest.importorskip("gradio_client")
    with served(small_run[0], tmp_path, "sampler=heun", "guidance.interval=[0.1,0.9]") as address:
        page = client.Client(address, verbose=False)

        def status(
            sampler: str, low: float, high: float, rescale: float = 0.0, *, prompt: str = "a red circle", side: int = 16
        ) -> str:
            settings = [1, 0, 4, sampler, 2.0, low, high, rescale, side, side, None, 0.7]
            drawn = page.predict(prompt, "", ["finished model", "step 6"], *settings, api_name="/draw")
            return str(drawn[1])

        assert "4 steps of Heun, 13 evaluations" in status("the model's own", 0.1, 0.9), (
            "the command says what is its own"
        )
        assert "4 steps of Euler, 8 evaluations" in status("euler", 0, 1, 0.5)
        with pytest.raises(Exception, match="must be two noise levels"):
            status("sde", 0.8, 0.2)
        assert "\n" not in status("euler", 0, 1)
        odd = status("euler", 0, 1, prompt="a red elephant", side=24).splitlines()
        assert len(odd) == 3, "what holds for two models is said once"
        assert "never shown 'elephant'" in odd[1]
        assert "trained on pictures of 16 x 16, not 24 x 24" in odd[2]


@pytest.mark.slow
def test_a_model_is_tried_in_a_browser(tmp_path: Path, small_run: SmallRun) -> None:
    pytest.importorskip("gradio")
    with chromium() as browser, served(small_run[0], tmp_path) as address:
        port = int(address.rpartition(":")[2])
        with socket.socket() as other:  # nobody but this machine is served
            assert other.connect_ex((socket.gethostbyname(socket.gethostname()), port)) != 0 or (
                socket.gethostbyname(socket.gethostname()).startswith("127.")
            )
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(address)
        page.get_by_label("Prompt", exact=True).fill("a large red circle at the center on a white background")
        models = page.get_by_label("Models, side by side")
        models.click()
        page.get_by_role("option", name="step 6", exact=True).click()
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Draw").click()
        status = page.get_by_label("Status")
        seen = set()
        for _ in range(600):
            seen.add(value := status.input_value())
            if value.startswith("Drew"):
                break
            time.sleep(0.02)
        assert value == "Drew 4, each in 4 steps of Euler, 8 evaluations of the model, in bf16" or "float32" in value
        assert any(": step " in text for text in seen), "shown while it was drawn"
        captions = page.get_by_text("finished model, seed 1")
        captions.first.wait_for()
        page.get_by_text("step 6, seed 0").first.wait_for()
        page.screenshot(path=tmp_path / "web.png")
        assert len(Image.open(tmp_path / "web.png").convert("RGB").getcolors(2**24) or []) > 500
        # Another sampler, which begins to guide below pure noise.
        page.get_by_text("Sampler and guidance").click()
        page.get_by_label("Sampler", exact=True).click()
        page.get_by_role("option", name="heun", exact=True).click()
        page.get_by_label("number input for Guide up to noise level").fill("0.9")
        page.get_by_label("number input for Guide up to noise level").press("Enter")
        page.get_by_role("button", name="Draw").click()
        for _ in range(600):
            if "steps of Heun" in (value := status.input_value()) and value.startswith("Drew"):
                break
            time.sleep(0.02)
        assert "4 steps of Heun, 13 evaluations of the model" in value, "the first of 7 is not guided"
        # A picture to start from, and an error that is said on the page.
        page.get_by_text("Start from a picture").click()
        Image.new("RGB", (40, 40), "blue").save(tmp_path / "start.png")
        page.locator("input[type=file]").first.set_input_files(tmp_path / "start.png")
        page.wait_for_timeout(1000)
        page.get_by_role("button", name="Draw").click()
        page.wait_for_timeout(3000)
        assert status.input_value().startswith("Drew 4")
        page.close()
