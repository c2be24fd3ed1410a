"""Work that is done ahead, in order."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaa.data import in_order as module
from aaa.data.in_order import in_order


@given(jobs=st.lists(st.integers(), max_size=200), batch_size=st.integers(1, 70))
def test_results_come_in_the_order_of_the_jobs(jobs: list[int], batch_size: int) -> None:
    assert list(in_order(lambda job: job + 1, jobs, batch_size)) == [job + 1 for job in jobs]


@pytest.mark.parametrize(("quick", "threads"), [(60.0, 1), (0.0, 4)])
def test_quick_work_is_left_to_one_thread(quick: float, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(module, "QUICK", quick)  # a busy machine takes any time for anything

    def read(_: int) -> int:
        time.sleep(1e-3)
        return threading.get_ident()

    seen = list(in_order(read, range(2000), 64))
    assert len(set(seen[1000:])) == threads


def test_no_more_than_two_batches_are_done_ahead() -> None:
    done: list[int] = []
    results = in_order(lambda job: done.append(job), range(1000), 32)
    next(results)
    time.sleep(0.2)
    assert len(done) <= 66
    list(results)
    assert sorted(done) == list(range(1000))


def test_an_error_nobody_expected_reaches_who_asks() -> None:
    with pytest.raises(ZeroDivisionError):
        list(in_order(lambda job: 1 // job, [1, 0], 4))
