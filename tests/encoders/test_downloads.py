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


@pytest.mark.parametrize(
    ("error", "tried"),
    [
        (OSError("Connection refused"), ["a/one"]),
        (OSError("ConnectionError: SSL: CERTIFICATE_VERIFY_FAILED"), ["a/one"]),
        (FileNotFoundError("404: there is no a/one"), ["a/one", "b/other"]),
    ],
)
def test_what_a_source_does_not_have_keeps_nothing_else_from_being_fetched(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: OSError,
    tried: list[str],
) -> None:
    monkeypatch.setenv("DIFFSYNTH_SKIP_DOWNLOAD", "False")
    monkeypatch.setenv("DIFFSYNTH_DOWNLOAD_SOURCE", "huggingface")
    asked: list[str] = []

    def download(dataset_id: str, **_: object) -> None:
        asked.append(dataset_id)
        if dataset_id == "a/one":
            raise error
        (tmp_path / "other.partial").mkdir()

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    for dataset_id in ("a/one", "b/other", "a/one"):
        fetch_dataset(dataset_id, tmp_path / dataset_id.rpartition("/")[2])
    assert asked == tried
    assert (tmp_path / "other").is_dir() == ("b/other" in tried)
    skipped = [record.message for record in caplog.records if "is not downloaded either: " in record.message]
    assert [message.split()[0] for message in skipped] == (["b/other"] if tried == ["a/one"] else []) + ["a/one"]
