"""Encoding by several at once: jobs of a sweep, a part each, and the processes of a launch."""

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import SMALL, Command, run_in

FORKED = True

ENCODE = ["aaa.encode", "data.resolution=16", "data.source.num_records=20", "data.source.num_validation=4"]


def indices(folder: Path) -> list[str]:
    return [str(file.relative_to(folder)) for file in sorted(folder.glob(".cache/aaa/*/**/index.json"))]


def test_jobs_encode_a_part_each_and_the_last_puts_them_together(command: Command, tmp_path: Path) -> None:
    last_first = command("aaa.encode", "-m", *ENCODE[1:], "encode.parts=3", "encode.part=2,0")
    assert last_first.code == 0, last_first.err
    assert "Part 2 of 3 is encoded" in last_first.err
    assert "Part 0 of 3 is encoded" in last_first.err
    assert all("shapes-patches-16" in name and ".parts/part-" in name for name in indices(tmp_path))
    done = command(*ENCODE, "encode.parts=3", "encode.part=1")
    assert done.code == 0, done.err
    assert "24 records in" in done.err
    assert "Decoded again: 16 of them, all the same: " in done.err
    (index,) = (name for name in indices(tmp_path) if "part-" not in name)
    assert len(json.loads((tmp_path / index).read_text())["shards"]) == 3
    assert "Encoding" not in command(*ENCODE).err
    assert not (tmp_path / "multirun").exists()


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (["encode.part=3", "encode.parts=3"], "encode.part=3: the last of encode.parts=3 parts is 2."),
        (["encode.part=1"], "encode.part=1: of how many? encode.parts=N says it"),
        (["encode.parts=0"], "encode.parts=0: must be at least 1"),
    ],
)
def test_parts_that_there_are_not_are_refused(command: Command, keys: list[str], says: str) -> None:
    assert says in command(*ENCODE, *keys).error


@pytest.mark.slow
def test_the_processes_of_a_run_encode_a_part_each(tmp_path: Path) -> None:
    launch = ["torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "aaa.train"]
    few = [*SMALL, "trainer.max_steps=2", "logger=none"]
    two = run_in(tmp_path, *launch, *few, OMP_NUM_THREADS="1")
    assert two.code == 0, two.err
    assert [name.rpartition("/part-")[2] for name in indices(tmp_path)][1:] == [
        "00000-of-00002/index.json",
        "00001-of-00002/index.json",
    ]
