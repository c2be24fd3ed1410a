import pytest

from aaa.benchmarks import plan
from aaa.benchmarks.plan import Planner
from tests.helpers.composed import compose

SMALL = ("model.dim=16", "model.depth=2", "model.heads=2", "trainer.batch_size=2", "data.resolution=16")


def planned(planner: Planner, *overrides: str) -> plan.Plan:
    return planner.plan(compose(*SMALL, *overrides), overrides)


def test_what_changes_the_cost_of_a_step_is_measured_again() -> None:
    planner = Planner()
    small, large = planned(planner), planned(planner, "data.resolution=32")
    assert large.flops > 3 * small.flops
    kept, recomputed = (
        planned(planner, "model.depth=8", "data.resolution=32", f"trainer.gradient_checkpointing={on}")
        for on in ("false", "true")
    )
    assert recomputed.memory_gib < kept.memory_gib


def test_runs_that_differ_in_what_costs_nothing_share_a_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    make = plan.make_subject
    monkeypatch.setattr(plan, "make_subject", lambda *args, **kwargs: made.append(1) or make(*args, **kwargs))  # type: ignore[func-returns-value]
    planner = Planner()
    for overrides in (
        ["seed=1"],
        ["optimizer.learning_rate=1e-4", "name=other"],
        ["trainer.max_steps=7", "sampling.guidance=3", "lr_scheduler=constant", "logger=none"],
    ):
        assert not planned(planner, *overrides).problem
    assert len(made) == 1
    planned(planner, "optimizer=adamw")
    assert len(made) == 2
