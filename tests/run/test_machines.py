"""Processes on machines that may see different disks, played by threads."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aaa.errors import UserError
from aaa.evaluation.sharing import Processes
from aaa.run.machines import (
    Reader,
    require_newest,
    require_same_config,
    require_same_data,
    require_same_kept,
    require_same_rooms,
    require_shared,
    told,
)
from tests.helpers.side_by_side import side_by_side


def refusals(program: Callable[[Processes], object], count: int = 3) -> list[str]:
    """What each of some processes says against a program; nothing where it goes through."""

    def said(processes: Processes) -> str:
        try:
            program(processes)
        except UserError as error:
            return str(error)
        return ""

    return side_by_side(count, said)


def test_only_the_first_reads_and_all_are_told() -> None:
    read = []

    def program(processes: Processes) -> int:
        def reads() -> int:
            read.append(processes.index)
            return 7

        return told(processes, reads)

    assert side_by_side(3, program) == [7, 7, 7]
    assert read == [0]


def test_what_the_first_refuses_is_refused_by_all() -> None:
    def damaged() -> int:
        raise UserError("damaged")

    assert refusals(lambda processes: told(processes, damaged)) == ["damaged"] * 3


def test_what_one_machine_does_not_see_is_read_by_the_first(tmp_path: Path) -> None:
    machines = [tmp_path / name for name in "ab"]
    for content, machine in enumerate(machines):
        machine.mkdir()
        (machine / "manifest.json").write_text("the same")
        (machine / "weights").write_text(str(content))

    def contents(processes: Processes) -> tuple[bool, str]:
        here = machines[processes.index]
        reader = Reader.of(here, processes)
        return reader.by_each, reader.reading(lambda name: (here / name).read_text())(Path("weights"))

    assert side_by_side(2, contents) == [(True, "0"), (True, "1")]
    (machines[1] / "manifest.json").unlink()
    assert side_by_side(2, contents) == [(False, "0"), (False, "0")]
    assert [reader.by_each for reader in side_by_side(2, lambda processes: Reader.of(None, processes))] == [True, True]


@pytest.mark.parametrize(
    ("key", "value"), [("trainer.max_steps", 24), ("seed", 1), ("data.source.num_records", 2), ("evaluation", None)]
)
def test_machines_that_were_told_different_things_are_refused(key: str, value: Any) -> None:
    def config(changed: bool) -> dict[str, Any]:
        made: dict[str, Any] = {
            "seed": 0,
            "trainer": {"max_steps": 12},
            "data": {"cache_dir": "/a", "source": {"num_records": 1, "root": "/a"}},
            "evaluation": {"num_images": 8},
            "output_dir": "/a",
            "logger": {"project": "a"},
        }
        # Where things lie, and what the first alone does, is each machine's own affair.
        made["data"]["cache_dir"] = made["data"]["source"]["root"] = made["output_dir"] = f"/{changed}"
        made["logger"]["project"] = str(changed)
        return made

    def changed(processes: Processes) -> None:
        own = config(processes.index == 2)
        if processes.index == 2:
            *parents, last = key.split(".")
            node = own
            for parent in parents:
                node = node[parent]
            node[last] = value
        require_same_config(own, processes)

    assert refusals(lambda processes: require_same_config(config(processes.index == 2), processes)) == [""] * 3
    said = refusals(changed)
    assert len(set(said)) == 1
    assert f"\n  {key}" in said[0]
    assert "process 2 (" in said[0]
    assert "/True" not in said[0]


def test_machines_with_different_data_are_refused() -> None:
    def program(processes: Processes) -> None:
        require_same_data("abc" if processes.index < 2 else "def", (3, 1), processes)

    def sizes(processes: Processes) -> None:
        require_same_data("abc", (3, processes.index), processes)

    assert all("data: process 2 (" in said for said in refusals(program))
    assert all("data: process 1 (" in said for said in refusals(sizes))
    assert refusals(lambda processes: require_same_data("abc", (3, 1), processes)) == [""] * 3


def test_machines_that_would_order_records_otherwise_are_refused() -> None:
    def rooms(processes: Processes) -> None:
        require_same_rooms((None, 3 * 2**30 if processes.index < 2 else None), processes)

    assert all("data.local_cache_gib: process 2 (" in said for said in refusals(rooms))
    assert all("all, all and all, 3 GiB" in said for said in refusals(rooms))
    assert refusals(lambda processes: require_same_rooms((None, 5), processes)) == [""] * 3


def test_a_folder_that_one_machine_does_not_see_is_refused(tmp_path: Path) -> None:
    def program(processes: Processes) -> None:
        own = tmp_path / ("a" if processes.index < 2 else "b")
        own.mkdir(exist_ok=True)
        require_shared(own, processes, "KEY needs it")

    said = refusals(program)
    assert all("process 2 (" in one and "and KEY needs it. Put the run on a disk" in one for one in said)
    assert refusals(lambda processes: require_shared(tmp_path, processes, "KEY needs it")) == [""] * 3
    assert not list(tmp_path.rglob(".seen-*")), "nothing is left behind"


def test_a_run_does_not_begin_anew_where_another_machine_has_more_of_it(tmp_path: Path) -> None:
    for name, step in (("a", 20), ("b", 40)):
        (tmp_path / name / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)

    def newest(first: str, second: str) -> list[str]:
        folders = [tmp_path / first, tmp_path / second]
        return refusals(lambda processes: require_newest(folders[0], folders[processes.index], processes), 2)

    assert newest("a", "a") == newest("b", "a") == newest("b", "none") == newest("none", "none") == ["", ""]
    assert all(
        "has a checkpoint of step 40 there" in said and "has that of step 20" in said for said in newest("a", "b")
    )
    assert all("which reads and writes them, has none" in said for said in newest("none", "b"))


def test_machines_that_keep_other_records_are_refused() -> None:
    def kept(processes: Processes) -> None:
        require_same_kept("abc" if processes.index < 2 else "def", processes)

    assert all("data.keep: process 2 (" in said for said in refusals(kept))
    assert refusals(lambda processes: require_same_kept("abc", processes)) == [""] * 3
    assert refusals(lambda processes: require_same_kept(None, processes)) == [""] * 3
