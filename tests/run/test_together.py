"""Two processes that wait for each other longer than a collective of theirs may."""

import multiprocessing
import os
import time
from contextlib import suppress
from datetime import timedelta
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path

from torch import distributed, ones

from aaa.evaluation.sharing import Alone
from aaa.run.together import NO_END, Together, meet

LIMIT_SECONDS, LATE_SECONDS = 1.0, 1.5
HANGS_SECONDS = 300  # on however busy a machine


def error_of_a_collective() -> str:
    """What is said of one that is limited, for which the other process does not come in time."""
    group = distributed.group.WORLD
    assert group is not None
    limited = distributed.AllreduceOptions()
    limited.timeout = timedelta(seconds=LIMIT_SECONDS)
    try:
        group.allreduce([ones(1)], limited).wait()
    except RuntimeError as error:
        return str(error)
    return "none"


def meet_and_part(index: int, store: Path, timed_out: Event, said: "Queue[tuple[int, str, object]]") -> None:
    distributed.init_process_group("gloo", init_method=store.as_uri(), rank=index, world_size=2)
    together = Together(index, 2)
    if index == 0:
        timed_out.wait()
        time.sleep(LATE_SECONDS)
    else:
        said.put((index, "collective", error_of_a_collective()))
        timed_out.set()
    found = together.exchange((index, ones(index + 1)))
    said.put((index, "found", [(number, tensor.tolist()) for number, tensor in found]))
    if index == 0:
        together.wait()  # until the other has its parts
        said.close()
        said.join_thread()
        os._exit(0)  # as a process does that is killed
    with suppress(RuntimeError):
        while True:
            together.wait()
    said.put((index, "is alone", True))


def test_who_is_late_is_waited_for_beyond_the_limit_of_collectives_and_who_is_gone_is_not(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    said: Queue[tuple[int, str, object]] = context.Queue()
    arguments = tmp_path / "store", context.Event(), said
    processes = [context.Process(target=meet_and_part, args=(index, *arguments), daemon=True) for index in (0, 1)]
    for process in processes:
        process.start()
    heard: dict[tuple[int, str], object] = {}
    while not {(0, "found"), (1, "is alone")} <= heard.keys():
        index, what, value = said.get(timeout=HANGS_SECONDS)
        heard[index, what] = value
    for process in processes:
        process.join(HANGS_SECONDS)
    assert "imed out" in str(heard[1, "collective"]), "or else the limit would be none"
    for index in (0, 1):
        assert heard[index, "found"] == [(0, [1.0]), (1, [1.0, 1.0])]
    assert timedelta(days=365) < NO_END


def test_one_process_has_nobody_to_wait_for() -> None:
    alone = meet(0, 1)
    assert isinstance(alone, Alone)
    alone.wait()
    assert alone.exchange("part") == ["part"]
