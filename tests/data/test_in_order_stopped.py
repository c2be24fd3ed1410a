"""Work that is done ahead, of which nobody wants the rest any more."""

from threading import Event

import pytest

from aaa.data import in_order as module
from aaa.data.in_order import in_order


def test_who_stops_asking_waits_for_no_more_than_what_is_being_done(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = Event()
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
