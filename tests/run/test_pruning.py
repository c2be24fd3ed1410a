"""Runs of a sweep are given up where the others are better, and not where a number is none."""

from itertools import permutations
from pathlib import Path

import pytest

from aaa.run.pruning import why_hopeless
from aaa.tracking.finite_json import to_json
from aaa.tracking.tracker import METRICS


def hopeless(sweep: Path, ours: list[float], *others: list[float]) -> bool:
    for name, losses in zip("mabcd", [ours, *others], strict=False):
        (sweep / name).mkdir(parents=True)
        rows = [to_json({"step": step, "val/loss": loss}) for step, loss in enumerate(losses, 1)]
        (sweep / name / METRICS).write_text("\n".join(rows) + "\n")
    return why_hopeless(sweep / "m", len(ours), after_steps=1, min_runs=2) is not None


@pytest.mark.parametrize(("ours", "given_up"), [(0.4, False), (0.55, False), (0.7, True), (float("nan"), True)])
def test_a_run_that_diverged_is_above_all_others_in_whatever_order(tmp_path: Path, ours: float, given_up: bool) -> None:
    for number, others in enumerate(permutations([[0.5], [float("nan")], [0.6]])):
        assert hopeless(tmp_path / str(number), [ours], *others) is given_up


def test_a_run_that_has_recovered_counts_with_its_best(tmp_path: Path) -> None:
    assert not hopeless(tmp_path / "ours", [float("nan"), 0.4], [0.6, 0.5], [0.6, 0.5])
    assert hopeless(tmp_path / "theirs", [0.6, 0.5], [float("nan"), 0.4], [0.6, 0.4])
