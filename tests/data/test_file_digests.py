"""When a file is the same file, and when its content is read again."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from aaa.data import file_digests
from aaa.data.file_digests import FileDigests
from aaa.errors import UserError

YEARS_AGO = 10**9 * 10**9


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a moment ago are remembered."""
    monkeypatch.setattr(file_digests, "SETTLED_NS", 0)


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
    monkeypatch.setattr(file_digests, "SETTLED_NS", 10**18)
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


def test_many_files_are_read_by_one_of_several_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [aged(tmp_path / str(number), str(number).encode()) for number in range(150)]
    told = [*files, files[3], tmp_path / "gone"]
    expected = [*(sha256(str(number).encode()) for number in range(150)), sha256(b"3"), "missing"]
    memory = tmp_path / "memory" / "digests.jsonl"
    read = mock.Mock(side_effect=hashlib.file_digest)
    monkeypatch.setattr(hashlib, "file_digest", read)
    first, other = FileDigests(memory), FileDigests(memory)
    assert first.digest_all(told) == expected
    assert read.call_count == 150
    assert other.digest_all(told) == expected, "which began before the first had read anything"
    assert read.call_count == 150
    aged(files[7], b"changed")
    assert other.digest_all(told)[7] == sha256(b"changed")
    assert read.call_count == 151
    with pytest.raises(UserError, match="7 was changed while the data was being read"):
        first.same_digest(files[7])


def test_the_memory_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_digests, "SPARE_LINES", 4)
    file, memory = tmp_path / "a", tmp_path / "digests.jsonl"
    began_long_ago = FileDigests(memory)
    for number in range(20):
        aged(file, str(number).encode() * (number + 1))
        FileDigests(memory).digest(file)
    assert len(memory.read_text().splitlines()) <= 2 + 4 + 1
    assert FileDigests(memory).digest(file) == began_long_ago.digest_all([file])[0] == sha256(b"19" * 20)
