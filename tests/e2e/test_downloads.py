"""Weights and pictures are fetched where they are missing: from a hub on this machine with Hugging Face's API."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from tests.e2e.conftest import SMALL, Command, only_run

COMMIT = "0" * 40
VAE = "black-forest-labs/FLUX.2-klein-4B/vae/diffusion_pytorch_model.safetensors"


class Hub(ThreadingHTTPServer):
    """Serves the files of a folder, `models/OWNER/NAME/...` and `datasets/OWNER/NAME/...`."""

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.root = root
        self.asked: list[str] = []

    @property
    def environment(self) -> dict[str, str]:
        return {
            "HF_ENDPOINT": f"http://127.0.0.1:{self.server_port}",
            "HF_HUB_OFFLINE": "0",
            "DIFFSYNTH_DOWNLOAD_SOURCE": "HuggingFace",
            "DIFFSYNTH_SKIP_DOWNLOAD": "False",
        }


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        path = self.path.partition("?")[0].strip("/")
        self.server.asked.append(path)
        about, _, wanted = path.removeprefix("api/").partition("/revision/")
        if wanted and (self.server.root / about).is_dir():
            repository = {"id": about.partition("/")[2], "sha": COMMIT, "siblings": self.files(about), "private": False}
            self.send(json.dumps(repository | {"downloads": 0, "likes": 0, "tags": []}).encode(), with_body)
            return
        about, _, wanted = path.removeprefix("api/").partition("/tree/")
        if wanted:
            self.send(json.dumps(self.files(about)).encode(), with_body)
            return
        name, _, file = path.partition(f"/resolve/{COMMIT}/")
        found = self.server.root / (name if name.startswith("datasets/") else f"models/{name}") / file
        if file and found.is_file():
            self.send(found.read_bytes(), with_body)
        else:
            self.send_error(404)

    def files(self, repository: str) -> list[dict[str, object]]:
        folder = self.server.root / repository
        return [
            {"type": "file", "path": name, "rfilename": name, "size": file.stat().st_size, "oid": COMMIT}
            for file in sorted(folder.rglob("*"))
            if file.is_file() and (name := str(file.relative_to(folder)))
        ]

    def send(self, content: bytes, with_body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    server = Hub(tmp_path / "hub")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.mark.slow
def test_the_tutorials_pictures_are_fetched_when_they_are_missing(command: Command, tmp_path: Path, hub: Hub) -> None:
    published = hub.root / "datasets" / "DiffSynth-Studio" / "pokemon-gen1"
    (published / "images").mkdir(parents=True)
    for index in range(6):
        Image.new("RGB", (32, 32), (index * 40, 80, 80)).save(published / "images" / f"{index:03d}.jpg")
    rows = "".join(f'{index:03d}.jpg,"green, Grass, {index}"\n' for index in range(6))
    (published / "metadata_merged.csv").write_text("image,prompt\n" + rows)
    small = [override for override in SMALL if not override.startswith(("data.", "evaluation."))]
    arguments = ["data=pokemon", "encoder=pixel", "data.resolution=16", "trainer.max_steps=2", "logger=none", *small]
    done = command("aaa.train", *arguments, **hub.environment)
    assert done.code == 0, done.err
    assert "Downloading DiffSynth-Studio/pokemon-gen1 from huggingface" in done.err
    assert "HTTP Request" not in done.err
    assert sorted(file.name for file in (tmp_path / "data" / "pokemon").iterdir()) == ["images", "metadata_merged.csv"]
    assert (only_run(tmp_path) / "model" / "model.safetensors").is_file()
    asked = len(hub.asked)
    assert command("aaa.encode", *arguments, **hub.environment).code == 0
    assert len(hub.asked) == asked  # what is there is not asked for again


@pytest.mark.slow
def test_missing_weights_are_fetched_through_diffsynth(command: Command, tmp_path: Path, hub: Hub) -> None:
    (hub.root / "models" / VAE).parent.mkdir(parents=True)
    (hub.root / "models" / VAE).write_bytes(b"not the weights")
    small = [override for override in SMALL if not override.startswith("evaluation")]
    done = command(
        "aaa.train",
        "encoder=flux2_qwen3",
        "text_encoder=words",
        "logger=none",
        *small,
        **hub.environment | {"DIFFSYNTH_MODEL_BASE_PATH": "elsewhere"},
    )
    # They arrive where they were to go, and being none they are named.
    assert (tmp_path / "elsewhere" / VAE).is_file()
    assert "diffusion_pytorch_model.safetensors: DiffSynth cannot load it" in done.error
    assert "Is the download whole? Delete it and fetch it again" in done.error


def test_a_download_that_fails_says_what_to_do_by_hand(command: Command, tmp_path: Path, hub: Hub) -> None:
    done = command("aaa.train", "data=pokemon", "logger=none", **hub.environment)
    for part in (
        "data.root=data/pokemon: there is no such folder",
        "modelscope download --dataset DiffSynth-Studio/pokemon-gen1 --local_dir data/pokemon",
        "models/Qwen/Qwen3-0.6B/model.safetensors",
        "hf download Qwen/Qwen3-0.6B",
    ):
        assert part in done.error
    assert done.err.count("The download failed") == 1
    assert not (tmp_path / "data" / "pokemon").exists()


@pytest.mark.slow
def test_a_hub_that_cannot_be_reached_is_said_in_a_few_words(command: Command, hub: Hub) -> None:
    hub.server_close()  # nobody listens there any more
    done = command("aaa.train", "data=pokemon", "logger=none", **hub.environment)
    assert "there is no such folder" in done.error
    assert "The download failed: huggingface cannot be reached. DIFFSYNTH_DOWNLOAD_SOURCE=" in done.err


@pytest.mark.slow
def test_downloads_can_be_forbidden(command: Command, hub: Hub) -> None:
    done = command("aaa.train", "data=pokemon", **hub.environment | {"DIFFSYNTH_SKIP_DOWNLOAD": "True"})
    assert "there is no such folder" in done.error
    assert hub.asked == []
