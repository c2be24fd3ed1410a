"""What stands under a folder's name is whole, whenever a process that replaces or deletes it dies."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from aaa.data.tensor_files import save_tensors
from aaa.saved.whole_folders import remove_whole, take_place


def folder_with(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "weights").write_text(text)
    return path


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    final = folder_with(tmp_path / "model", "old")
    take_place(folder_with(tmp_path / ".model", "new"), final)
    take_place(folder_with(tmp_path / ".another", "first"), tmp_path / "other")
    assert {path.name for path in tmp_path.iterdir()} == {"model", "other"}
    assert (final / "weights").read_text() == "new"


def test_files_of_tensors_may_be_read_by_others(tmp_path: Path) -> None:
    (tmp_path / "text").touch()
    save_tensors({"a": torch.zeros(3)}, tmp_path / "a.safetensors", {"step": "1"})
    save_tensors({"a": torch.ones(3)}, tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "text").stat().st_mode
    assert load_file(tmp_path / "a.safetensors")["a"].tolist() == [1, 1, 1]


def test_what_cannot_be_renamed_leaves_the_old_one_in_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    final, aside = folder_with(tmp_path / "model", "old"), folder_with(tmp_path / ".model", "new")
    rename = Path.rename

    def die(self: Path, target: Path) -> Path:
        if self == aside:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", die)
    with pytest.raises(KeyboardInterrupt):
        take_place(aside, final)
    monkeypatch.undo()
    assert (tmp_path / ".removed-model" / "weights").read_text() == "old"
    take_place(aside, final)
    assert {path.name for path in tmp_path.iterdir()} == {"model"}


def test_half_a_folder_is_left_under_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_with(tmp_path / "step-00000001", "weights")

    def busy(_: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise OSError("busy")

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", busy)
        with pytest.raises(OSError, match="busy"):
            remove_whole(folder)
    assert not folder.exists()
    remove_whole(folder)  # there is none
    remove_whole(folder_with(folder, "again"))
    assert not list(tmp_path.iterdir())
