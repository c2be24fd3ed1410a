import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaa.errors import UserError
from aaa.training.lr_schedules import constant, reduced_start, warmup_constant, warmup_cosine, warmup_stable_decay


@given(max_steps=st.integers(2, 500), warmup=st.integers(0, 100), final=st.floats(0, 0.5), decay=st.floats(0.05, 0.9))
def test_schedules_rise_stay_in_bounds_and_end_where_they_say(
    max_steps: int, warmup: int, final: float, decay: float
) -> None:
    warmup = min(warmup, max_steps // 3)
    for schedule in (warmup_cosine(max_steps, warmup, final), warmup_stable_decay(max_steps, warmup, decay, final)):
        factors = [schedule(step) for step in range(max_steps)]
        assert all(0 <= factor <= 1 for factor in factors)
        assert factors[-1] == pytest.approx(final, abs=1e-9) or max_steps - 1 <= warmup
    rise = [warmup_constant(max_steps, warmup)(step) for step in range(max_steps)]
    assert rise == sorted(rise)
    assert rise[warmup:] == [1.0] * (max_steps - warmup)
    assert rise[0] > 0


def test_wsd_is_flat_between_rise_and_fall() -> None:
    schedule = warmup_stable_decay(1000, warmup_steps=10, decay_fraction=0.3, final_fraction=0.0)
    assert [schedule(step) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert all(schedule(step) == 1 for step in range(10, 700))
    assert schedule(849) == pytest.approx(0.5, abs=0.01)


def test_cosine_falls_along_half_a_cosine() -> None:
    schedule = warmup_cosine(101, warmup_steps=0, final_fraction=0.0)
    quarters = [schedule(step) for step in (0, 25, 50, 75, 100)]
    assert quarters == pytest.approx([1, (2 + 2**0.5) / 4, 0.5, (2 - 2**0.5) / 4, 0])
    risen = warmup_cosine(111, warmup_steps=10, final_fraction=0.2)
    assert [risen(step) for step in (35, 60)] == pytest.approx([0.2 + 0.8 * (2 + 2**0.5) / 4, 0.6])


def test_constant_is_constant() -> None:
    assert {constant(7)(step) for step in range(7)} == {1.0}


def test_a_reduced_start_has_as_many_steps_as_it_says() -> None:
    schedule = reduced_start(10, factor=0.3, steps=5)
    assert [schedule(step) for step in range(7)] == [0.3] * 5 + [1.0] * 2


def test_steps_below_0_are_refused_by_their_own_name() -> None:
    with pytest.raises(UserError, match=r"^lr_scheduler\.steps=-1: "):
        reduced_start(10, factor=0.3, steps=-1)
    with pytest.raises(UserError, match=r"^lr_scheduler\.warmup_steps=-1: "):
        warmup_constant(10, warmup_steps=-1)
