"""Two processes that wait for each other longer than a collective of theirs may."""

import multiprocessing
import os
import socket
import time
from datetime import timedelta
from multiprocessing.queues import Queue

from torch import distributed, ones

from aaa.evaluation.sharing import Alone
from aaa.run.together import NO_END, Together, meet

LIMIT_SECONDS, LATE_SECONDS = 1.0, 2.5


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def meet_and_part(index: int, port: int, said: "Queue[tuple[int, str, object]]") -> None:
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=index, world_size=2)
    limited = distributed.new_group(timeout=timedelta(seconds=LIMIT_SECONDS))
    assert isinstance(limited, distributed.ProcessGroup)
    together = Together(index, 2)
    began = time.monotonic()
    if index == 0:
        time.sleep(LATE_SECONDS)
    said.put((index, "found", together.exchange({"index": index, "numbers": ones(index + 1)})))
    said.put((index, "waited", time.monotonic() - began))
    if index == 0:
        time.sleep(LATE_SECONDS)
    try:
        distributed.all_reduce(ones(1), group=limited)
    except RuntimeError as error:
        said.put((index, "collective", str(error)))
    together.wait()
    said.put((index, "went on", True))
    if index == 0:
        said.close()
        said.join_thread()
        os._exit(0)  # as a process does that is killed
    began = time.monotonic()
    try:
        together.wait()
    except RuntimeError:
        said.put((index, "left after", time.monotonic() - began))


def test_who_is_late_is_waited_for_beyond_the_limit_of_collectives_and_who_is_gone_is_not() -> None:
    context = multiprocessing.get_context("spawn")
    said: Queue[tuple[int, str, object]] = context.Queue()
    port = free_port()
    processes = [context.Process(target=meet_and_part, args=(index, port, said)) for index in (0, 1)]
    for process in processes:
        process.start()
    heard: dict[tuple[int, str], object] = {}
    while not {(1, "left after"), (0, "went on")} <= heard.keys():
        index, what, value = said.get(timeout=60)
        heard[index, what] = value
    for process in processes:
        process.join(60)
    for index in (0, 1):
        parts = heard[index, "found"]
        assert isinstance(parts, list)
        assert [part["index"] for part in parts] == [0, 1]
        assert [part["numbers"].tolist() for part in parts] == [[1.0], [1.0, 1.0]]
        assert heard[index, "went on"]
    waited, left_after = heard[1, "waited"], heard[1, "left after"]
    assert isinstance(waited, float)
    assert waited > LIMIT_SECONDS
    assert "imed out" in str(heard[1, "collective"]), "or else the limit would be none"
    assert isinstance(left_after, float)
    assert left_after < 30
    assert timedelta(days=365) < NO_END


def test_one_process_has_nobody_to_wait_for() -> None:
    alone = meet(0, 1)
    assert isinstance(alone, Alone)
    alone.wait()
    assert alone.exchange("part") == ["part"]
