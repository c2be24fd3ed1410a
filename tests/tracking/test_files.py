"""Small files are whole or as they were, whoever else writes them, and what stands against it is one clear error."""

import json
import multiprocessing
from pathlib import Path

import pytest

from aaa.errors import UserError
from aaa.tracking.files import append_line, remove_aside, rename_folder, replace_text, written_aside

TIMES = 100


def replace_often(path: Path, name: str) -> int:
    """How often the file was not whole after it had been written."""
    torn = 0
    for _ in range(TIMES):
        replace_text(path, json.dumps([name] * 3000))
        torn += len(set(json.loads(path.read_text()))) != 1
    return torn


def test_two_processes_may_write_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.starmap(replace_often, [(path, "one"), (path, "the other")]) == [0, 0]
    assert [file.name for file in tmp_path.iterdir()] == ["record.json"]


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").mkdir()
    for write in (append_line, replace_text):
        with pytest.raises(UserError, match=r"metrics\.jsonl: cannot be written \(Is a directory\)"):
            write(tmp_path / "metrics.jsonl", "{}")
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_what_to_do_is_told_as_the_command_has_it(tmp_path: Path) -> None:
    (tmp_path / "record.json").mkdir()
    with pytest.raises(UserError, match=r"go on with resume=RUN_FOLDER\.$"):
        replace_text(tmp_path / "record.json", "{}")
    with pytest.raises(UserError, match=r"cannot be written \(Is a directory\)\. Give another one$"):
        replace_text(tmp_path / "record.json", "{}", "Give another one")


def test_nothing_is_left_of_a_text_that_cannot_be_encoded(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("before")
    with pytest.raises(UnicodeEncodeError):
        replace_text(tmp_path / "config.yaml", "\udcff")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["before"]


def test_what_a_process_that_died_has_left_aside_is_removed(tmp_path: Path) -> None:
    kept = ["config.yaml", "notes.tmp", "mine.12b.tmp"]
    for name in [*kept, "config.yaml.1234.tmp"]:
        (tmp_path / name).touch()
    remove_aside(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_a_folder_that_windows_holds_for_a_moment_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, tries = Path.rename, []

    def held(path: Path, target: Path) -> Path:
        tries.append(target)
        if len(tries) < 3:
            raise PermissionError(13, "it is used by another process", str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", held)
    monkeypatch.setattr("aaa.tracking.files.RENAME_SECONDS", 0)
    (tmp_path / "a").mkdir()
    with pytest.raises(PermissionError):
        rename_folder(tmp_path / "a", tmp_path / "b")
    monkeypatch.setattr("sys.platform", "win32")
    rename_folder(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").is_dir()


def test_what_is_written_aside_takes_the_place_of_another_only_if_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "kept.bin"
    path.write_bytes(b"before")
    with pytest.raises(TypeError), written_aside(path) as aside, aside.open("wb") as file:
        file.write("half")  # type: ignore[arg-type]
    assert path.read_bytes() == b"before"
    with written_aside(path) as aside:
        aside.write_bytes(b"whole")
    assert path.read_bytes() == b"whole"
    assert [*tmp_path.iterdir()] == [path]
