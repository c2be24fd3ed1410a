import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aaa.training import posthoc_ema
from aaa.training.ema import Keep, decaying, share_of_run
from aaa.training.posthoc_ema import Saved, fits

KEEPS = st.one_of(st.floats(0.02, 0.5).map(share_of_run), st.floats(0.3, 0.99).map(decaying))


def averaged(weights: torch.Tensor, saved: Saved) -> torch.Tensor:
    """What an average of these weights, a row for each update, is."""
    if saved.keep is None:
        return weights[saved.updates - 1]
    average = weights[0]
    for update in range(1, saved.updates):
        kept = saved.keep(update)
        average = kept * average + (1 - kept) * weights[update]
    return average


@settings(max_examples=25, deadline=None)
@given(own=KEEPS, wanted=KEEPS, every=st.integers(3, 9), times=st.integers(1, 8))
def test_the_sum_is_as_far_from_the_average_as_it_is_said_to_be(
    own: Keep, wanted: Keep, every: int, times: int
) -> None:
    there = [Saved(every * n, keep) for n in range(1, times + 1) for keep in (own, None)]
    target = Saved(every * times, wanted)
    (fit,) = fits(there, [target])
    each = torch.eye(target.updates, dtype=torch.float64)  # weights of which a sum shows how much each counts
    made = sum(factor * averaged(each, saved) for factor, saved in zip(fit.factors, there, strict=True))
    assert isinstance(made, torch.Tensor)
    right = averaged(each, target)
    assert fit.error == pytest.approx(float((made - right).norm() / right.norm()), abs=1e-9)
    assert sum(fit.factors) == pytest.approx(1)
    assert float(made.sum()) == pytest.approx(1)
    plain = averaged(each, there[-2])  # the run's own average is one of the sums that could have been taken
    assert fit.error <= float((plain - right).norm() / right.norm()) + 1e-9


@given(keep=KEEPS, updates=st.integers(1, 30))
def test_an_average_that_is_there_is_taken_as_it_is(keep: Keep, updates: int) -> None:
    (fit,) = fits([Saved(updates, None), Saved(updates, keep)], [Saved(updates, keep)])
    assert fit.error < 1e-9
    if updates > 1:
        assert fit.factors == pytest.approx([0, 1], abs=1e-6)


def test_many_updates_are_looked_at_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [Saved(10 * n, keep) for n in range(1, 9) for keep in (decaying(0.9), None)]
    wanted = [Saved(80, share_of_run(share)) for share in (0.05, 0.2)]
    whole = fits(there, wanted)
    monkeypatch.setattr(posthoc_ema, "ROWS", 7)
    for part, all_at_once in zip(fits(there, wanted), whole, strict=True):
        assert part.error == pytest.approx(all_at_once.error, rel=1e-6)
        assert part.factors == pytest.approx(all_at_once.factors, rel=1e-5, abs=1e-7)
