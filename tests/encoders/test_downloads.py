"""Downloads that cannot be, or must not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from aaa.encoders import downloads
from aaa.encoders.downloads import fetch_dataset, fetch_model_files


def fetch_model() -> None:
    fetch_model_files("owner/model", ["model.safetensors"])


def fetch_pictures() -> None:
    assert "modelscope download --dataset owner/pictures" in fetch_dataset("owner/pictures", Path("data/pictures"))


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DIFFSYNTH_MODEL_BASE_PATH", raising=False)
    monkeypatch.setattr(downloads, "_failures", {})


@pytest.mark.parametrize("fetch", [fetch_model, fetch_pictures])
def test_where_they_are_forbidden_nothing_is_made(tmp_path: Path, fetch: Callable[[], None]) -> None:
    fetch()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fetch", [fetch_model, fetch_pictures])
def test_a_folder_that_cannot_be_made_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fetch: Callable[[], None]
) -> None:
    monkeypatch.setenv("DIFFSYNTH_SKIP_DOWNLOAD", "False")
    for name in ("models", "data"):
        (tmp_path / name).write_text("a file")
    fetch()
    assert "cannot be downloaded" in caplog.text
    assert "cannot be written" in caplog.text
    assert not downloads._failures, "another folder may do"
