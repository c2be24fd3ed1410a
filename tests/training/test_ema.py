import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from aaa.training.ema import EMA, decaying, share_of_run


def test_the_average_warms_up_and_then_decays_as_configured() -> None:
    model = nn.Linear(1, 1, bias=False)
    ema = EMA(model, decaying(0.6))
    expected = model.weight.item()
    average = ema.module
    assert isinstance(average, nn.Linear)
    for step in range(20):
        with torch.no_grad():
            model.weight.fill_(float(step))
        ema.update_parameters(model)
        # torch's AveragedModel copies the weights at the first update.
        keep = 0.0 if step == 0 else min(0.6, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * step
        assert abs(average.weight.item() - expected) < 1e-4
    assert int(ema.n_averaged) == 20


def test_the_model_itself_is_left_alone() -> None:
    model = nn.Linear(3, 3)
    ema = EMA(model, decaying(0.9))
    before = model.weight.clone()
    ema.update_parameters(model)
    ema.update_parameters(model)
    assert torch.equal(model.weight, before)


@given(share=st.floats(0.02, 0.5), steps=st.integers(200, 600))
def test_a_share_of_the_run_is_how_old_the_average_is_at_every_length(share: float, steps: int) -> None:
    keep, age = share_of_run(share), 0.0
    for step in range(1, steps):
        age = (age + 1) * keep(step)  # of what was there, a step older now; the newest weights are no step old
    assert age / steps == pytest.approx(share, abs=2 / steps)


def test_half_of_the_run_is_the_mean_of_all_weights() -> None:
    model = nn.Linear(1, 1, bias=False)
    ema = EMA(model, share_of_run(0.5))
    average = ema.module
    assert isinstance(average, nn.Linear)
    for step in range(11):
        with torch.no_grad():
            model.weight.fill_(float(step))
        ema.update_parameters(model)
    assert average.weight.item() == pytest.approx(5)
