"""Work that is done ahead, in order."""

import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaa.data import in_order as module
from aaa.data.in_order import in_order


@given(jobs=st.lists(st.integers(), max_size=200), batch_size=st.integers(1, 70))
def test_results_come_in_the_order_of_the_jobs(jobs: list[int], batch_size: int) -> None:
    assert list(in_order(lambda job: job + 1, jobs, batch_size)) == [job + 1 for job in jobs]


def test_quick_work_is_left_to_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(module, "QUICK", 60.0)  # a busy machine takes any time for anything
    seen = list(in_order(lambda _: threading.get_ident(), range(2000), 64))
    assert len(set(seen[1000:])) == 1


def test_other_work_is_done_by_as_many_threads_as_there_are_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(module, "QUICK", 0.0)
    four_at_once = threading.Barrier(4, timeout=300)

    def read(_: int) -> int:
        four_at_once.wait()
        return threading.get_ident()

    seen = list(in_order(read, range(2000), 64))
    assert len(set(seen[1000:])) == 4


class Handed(list[int]):
    """Jobs that know how many of them have been handed out."""

    out = 0

    def __getitem__(self, jobs: Any) -> Any:
        self.out = jobs.stop
        return super().__getitem__(jobs)


def test_no_more_than_two_batches_are_done_ahead() -> None:
    jobs = Handed(range(1000))
    for used, _ in enumerate(in_order(lambda job: job, jobs, 32)):
        assert jobs.out <= used + 2 * 32
    assert jobs.out == 1000


def test_an_error_nobody_expected_reaches_who_asks() -> None:
    with pytest.raises(ZeroDivisionError):
        list(in_order(lambda job: 1 // job, [1, 0], 4))


def test_who_stops_asking_waits_for_no_more_than_what_is_being_done(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = threading.Event()
    monkeypatch.setattr(module, "Event", lambda: stopped)
    monkeypatch.setattr(module.os, "cpu_count", lambda: 1)
    done: list[int] = []

    def read(job: int) -> int:
        if job >= 6:
            stopped.wait(300)
        done.append(job)
        return job

    results = in_order(read, range(1000), 64)  # read in pieces of 4
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert len(done) <= 7
