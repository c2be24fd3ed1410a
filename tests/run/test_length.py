import pytest

from aaa.assembly.parts import build_schedule
from aaa.run.length import RunLength, unreached_rate
from tests.helpers.composed import compose


@pytest.mark.parametrize(
    ("scheduler", "steps", "said"),
    [
        ("warmup_constant", 50, "lr_scheduler.warmup_steps=100 of 50 steps: the learning rate rises to 50% of"),
        ("wsd", 30, "lr_scheduler.warmup_steps=50 of 30 steps: the learning rate rises to "),
        ("warmup_cosine", 99, "lr_scheduler.warmup_steps=100 of 99 steps: the learning rate rises to 99%"),
        ("warmup_constant", 100, None),
        ("wsd", 400, None),
        ("warmup_cosine", 101, None),
        ("constant", 3, None),
        ("reduced_start", 3, None),
    ],
)
def test_a_learning_rate_that_is_never_reached_is_told(scheduler: str, steps: int, said: str | None) -> None:
    config = compose(f"lr_scheduler={scheduler}")
    found = unreached_rate(config, RunLength(8, steps, build_schedule(config, steps), None, 1))
    assert (found or "").startswith(said or "")
    assert (found is None) == (said is None)


def test_a_checkpoint_that_was_offered_once_is_kept_by_later_sessions() -> None:
    schedule = build_schedule(compose(), 10)
    length = RunLength(8, 10, schedule, 5, 1, parting_step=3, earlier_kept=(2, 5))
    assert length.kept_steps == (2, 3, 5)
    assert length.extra_saves == (5,)
