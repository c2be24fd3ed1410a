"""The page's functions asked as a browser asks them: what its controls hold is read by gradio, then drawn with."""

import shutil
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from aaa.config.sampling_choice import SamplingChoice
from aaa.pipelines.text_to_image import TextToImage
from aaa.saved.models import find_saved
from tests.e2e.test_kept_run import KEPT

pytest.importorskip("gradio")

from aaa.pipelines.offered_models import Drawers
from aaa.pipelines.web_page import make_page


def drawers(run: Path, **chosen: Any) -> Drawers:
    own: dict[str, Any] = {"precision": None, "preview": None, "heads": None, "trust_config": False}
    return Drawers(run, SamplingChoice(**chosen), device="cpu", **own)


def drawn(of: Drawers, **changed: Any) -> tuple[list[Any], str]:
    """The pictures and the status of a Draw with the controls as they are, but those that are named by their labels."""
    pictures, status, _ = drawn_and_kept(of, **changed)
    return pictures, status


def drawn_and_kept(
    of: Drawers, before: Sequence[tuple[str, str]] = (), **changed: Any
) -> tuple[list[Any], str, list[Any]]:
    """The same, and the files of the session's pictures, of which there are some before."""
    page = make_page(of)
    (draw,) = {block.fn: block for block in page.fns.values() if block.fn and block.fn.__name__ == "draw"}.values()
    controls: list[Any] = [*draw.inputs]
    written = {"Prompt": "a red circle", "Negative prompt": ""}
    held = {block.label: block.value for block in controls} | written | changed
    *read, _ = [block.preprocess(held[block.label]) for block in controls]
    assert draw.fn is not None
    (_, _, shown, _), *_, (pictures, status, _, kept) = draw.fn(*read, [*before])
    assert shown == [(file, caption) for file, caption in before if Path(file).is_file()]
    return [(Image.open(file), caption) for file, caption in pictures], status, kept


@pytest.mark.parametrize(
    "own", [{"steps": 101, "guidance": 20.0}, {"steps": 1, "guidance": 0.0}, {"steps": 1, "guidance": -3.0}]
)
def test_a_models_own_settings_are_within_what_the_controls_may_be(own: dict[str, Any]) -> None:
    pictures, status = drawn(drawers(KEPT / "run", **own))
    assert len(pictures) == 2
    evaluations = own["steps"] * 2  # with and without the prompt
    assert f"{own['steps']} steps of Euler, {evaluations} evaluations" in status


def test_an_empty_seed_is_none() -> None:
    of = drawers(KEPT / "run", steps=1)
    (empty, _), (zero, _) = drawn(of, Seed=None), drawn(of, Seed=0)
    assert [caption for _, caption in empty] == ["finished model, seed 0", "finished model, seed 1"]
    assert [picture.tobytes() for picture, _ in empty] == [picture.tobytes() for picture, _ in zero]


def test_models_of_one_encoder_hold_it_once() -> None:
    of = drawers(KEPT / "run")
    finished, *others = (of.get(name) for name in of.names)
    assert len(others) == 2
    for other in others:
        assert other.model is not finished.model
        assert (other.vae, other.text_encoder) == (finished.vae, finished.text_encoder)
    saved = find_saved(KEPT / "run", "ema", trust_config=False)
    longer = deepcopy(saved.config)
    longer["encoder"]["text_encoder"]["max_length"] += 1
    another = TextToImage(replace(saved, config=longer), "cpu", beside=finished)
    assert another.text_encoder is not finished.text_encoder


def test_damaged_checkpoints_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = tmp_path / "run"
    shutil.copytree(KEPT / "run", run)
    older = run / "checkpoints" / "step-00000008"
    newer = run / "checkpoints" / "step-00000012"
    shutil.copytree(older, newer)
    assert drawers(run).names[0] == "step 12", "it was trained further since its model was exported"
    weights = bytearray((newer / "ema.safetensors").read_bytes())
    weights[-1] ^= 1  # as long as before
    (newer / "ema.safetensors").write_bytes(weights)
    finished = ["finished model", "step 12", "step 12, raw weights", "step 8", "step 8, raw weights"]
    assert drawers(run).names == finished, "what the page does not begin with is not hashed"
    (run / "model" / "config.json").unlink()  # an export that was cut short
    of = drawers(run, steps=1)
    assert of.names == ["step 8", "step 8, raw weights"]
    assert "step-00000012 is damaged: ema.safetensors is not what was written" in caplog.text
    assert len(drawn(of)[0]) == 2
    (older / "model.safetensors").write_bytes(b"short")
    assert drawers(run).names == ["run"]


def test_a_picture_to_start_from_is_seen_as_it_is_by_sample(tmp_path: Path) -> None:
    from gradio.data_classes import ImageData

    file = tmp_path / "transparent.png"
    Image.new("RGBA", (16, 16), (0, 0, 0, 0)).save(file)
    of = drawers(KEPT / "run", steps=2, guidance=1)
    sent = {"Picture": ImageData(path=str(file), orig_name=file.name), "How much of it to redraw": 0.05}
    (first, *_), _ = drawn(of, Pictures=1, **sent)
    start: dict[str, Any] = {"input_image": file, "denoising_strength": 0.05}
    (expected,) = of.get("finished model").draw("a red circle", **start)
    shown = first[0].resize(expected.size, Image.Resampling.NEAREST)
    assert shown.tobytes() == expected.tobytes()
    assert min(expected.resize((1, 1)).getpixel((0, 0))) > 200, "over white"  # type: ignore[arg-type]


def test_the_folder_that_one_is_in_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(KEPT / "run" / "model")
    assert drawers(Path()).names == ["model"]


def test_a_prompt_that_is_cut_is_told_on_the_page() -> None:
    _, status = drawn(drawers(KEPT / "run", steps=1), Pictures=1, Prompt="red " * 200)
    assert "prompt has 200 tokens; the model sees the first" in status


def test_captions_can_be_sent_to_a_browser_whatever_was_typed() -> None:
    *_, kept = drawn_and_kept(drawers(KEPT / "run", steps=1), Pictures=1, Prompt="red \ud83d")
    (caption,) = [text for _, text in kept]
    assert caption.encode() == "finished model, seed 0: red \ufffd".encode()


def test_a_picture_is_written_once_and_kept_as_long_as_its_file(tmp_path: Path) -> None:
    of = drawers(KEPT / "run", steps=1)
    there, gone = tmp_path / "there.png", tmp_path / "gone.png"
    there.write_bytes(b"nobody reads it")
    ((picture, _),), _, kept = drawn_and_kept(of, [(str(gone), "gone"), (str(there), "there")], Pictures=1)
    (file, caption), *before = kept
    assert caption == "finished model, seed 0: a red circle"
    assert Image.open(file).tobytes() == picture.tobytes()
    assert before == [(str(there), "there")]


def test_what_was_written_for_browsers_is_deleted_in_time() -> None:
    deleted = make_page(drawers(KEPT / "run")).delete_cache
    assert deleted is not None
    every, old = deleted
    assert 0 < every <= old <= 7 * 86400
