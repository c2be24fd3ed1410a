"""When a file is the same file, and when its content is read again."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from aaa.data import fingerprint, imagefolder
from aaa.data.fingerprint import FileDigests, code_fingerprint, records_fingerprint
from aaa.data.imagefolder import ImageFolderSource
from aaa.errors import UserError
from tests.data.test_cache import build

YEARS_AGO = 10**9 * 10**9


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a moment ago are remembered."""
    monkeypatch.setattr(fingerprint, "SETTLED_NS", 0)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def aged(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    os.utime(path, ns=(YEARS_AGO, YEARS_AGO))
    return path


def moved_over(file: Path) -> None:
    aged(file.with_name("new"), b"two").rename(file)


def copied_over(file: Path) -> None:
    shutil.copy2(aged(file.with_name("new"), b"two"), file)


def written_in_place(file: Path) -> None:
    aged(file, b"two")


def removed_and_written(file: Path) -> None:
    file.unlink()
    aged(file, b"two")


def linked_elsewhere(file: Path) -> None:
    file.unlink()
    file.symlink_to(aged(file.with_name("new"), b"two"))


@pytest.mark.parametrize("replace", [moved_over, copied_over, written_in_place, removed_and_written, linked_elsewhere])
def test_another_content_of_the_same_size_and_time_is_seen(tmp_path: Path, replace: Callable[[Path], None]) -> None:
    file = aged(tmp_path / "a", b"one")
    memory = tmp_path / "digests.jsonl"
    digests = FileDigests(memory)
    assert digests.digest(file) == sha256(b"one")
    before = file.stat()
    while file.stat().st_ctime_ns == before.st_ctime_ns:  # until the file system's clock has moved on
        replace(file)
    after = file.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert digests.digest(file) == FileDigests(memory).digest(file) == sha256(b"two")


def test_a_file_is_read_again_only_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = aged(tmp_path / "a", b"one")
    memory = tmp_path / "digests.jsonl"
    first = FileDigests(memory).digest(file)
    memory.open("a").write('["half a li')
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("it was read again"))
        assert FileDigests(memory).digest(file) == first
    file.write_bytes(b"another")
    assert FileDigests(memory).digest(file) != first
    assert FileDigests(memory).digest(tmp_path / "gone") == "missing"
    assert FileDigests(memory).digest(tmp_path) == "missing"
    os.mkfifo(tmp_path / "pipe")
    assert FileDigests(memory).digest(tmp_path / "pipe") == "missing"


def test_what_was_changed_a_moment_ago_is_not_remembered_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = aged(tmp_path / "a", b"one")
    monkeypatch.setattr(fingerprint, "SETTLED_NS", 10**18)
    assert FileDigests(tmp_path / "digests.jsonl").digest(file) == sha256(b"one")
    assert not (tmp_path / "digests.jsonl").exists()


def test_a_file_written_to_while_it_is_read_is_read_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = aged(tmp_path / "a", b"one")
    whole = hashlib.file_digest
    contents = [b"longer", b"the longest"]

    def interrupted(*arguments: object) -> object:
        found = whole(*arguments)  # type: ignore[arg-type]
        if contents:
            file.write_bytes(contents.pop(0))
        return found

    monkeypatch.setattr(hashlib, "file_digest", interrupted)
    assert FileDigests(tmp_path / "digests.jsonl").digest(file) == sha256(b"the longest")


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "5",
        "null",
        "{}",
        '["a"]',
        '[["a"], 1, 2, "x"]',
        '["half',
        "\udcff",
        '["a", 3, 1000000000000000000, "the digest that an earlier version wrote"]',
    ],
)
def test_a_memory_of_another_form_is_passed_over(tmp_path: Path, line: str) -> None:
    file = aged(tmp_path / "a", b"one")
    memory = tmp_path / "digests.jsonl"
    memory.write_bytes(line.replace('"a"', json.dumps(str(file))).encode("utf-8", "surrogateescape") + b"\n")
    assert FileDigests(memory).digest(file) == sha256(b"one")


def test_a_memory_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    file = aged(tmp_path / "a", b"one")
    (tmp_path / "occupied").touch()
    assert FileDigests(tmp_path / "occupied" / "digests.jsonl").digest(file) == sha256(b"one")


def test_code_that_code_is_made_of_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """`CacheBuilder` takes pictures from a module that takes colours from another."""
    before = code_fingerprint(["aaa.data.build_cache.CacheBuilder"])
    read = Path.read_bytes
    monkeypatch.setattr(
        Path, "read_bytes", lambda path: read(path) + (b"#" if path.name == "color_profiles.py" else b"")
    )
    assert code_fingerprint(["aaa.data.build_cache.CacheBuilder"]) != before


@pytest.mark.parametrize("when", ["before it is read", "while it is read"])
def test_a_picture_that_changes_during_a_build_is_not_kept_under_what_it_was(
    tmp_path: Path, picture_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    source = ImageFolderSource(str(picture_folder()))
    digests = FileDigests(tmp_path / "digests.jsonl")
    records_fingerprint(source, digests)
    changed = source[0].path
    assert changed is not None

    def change() -> None:
        Image.new("RGB", (9, 9), "blue").save(changed)

    if when == "before it is read":
        change()
    else:
        read = imagefolder.read_picture

        def interrupted(path: Path, background_color: str) -> Image.Image:
            picture = read(path, background_color)
            change()
            return picture

        monkeypatch.setattr(imagefolder, "read_picture", interrupted)
    with pytest.raises(UserError, match=rf"{changed.name} was changed while the data was being read"):
        build(tmp_path / "cache", source, identify=lambda record: digests.same_digest(record.path))
    assert not (tmp_path / "cache").exists()
