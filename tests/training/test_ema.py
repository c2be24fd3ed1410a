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


def test_an_average_of_bf16_weights_goes_where_they_go() -> None:
    model = nn.Linear(64, 1, bias=False).bfloat16()
    ema, exact = EMA(model, decaying(0.9995)), model.weight.detach().double()
    for step in range(2000):
        with torch.no_grad():
            model.weight.copy_(torch.full_like(model.weight, step / 1000))
        keep = 0.0 if step == 0 else min(0.9995, (1 + step) / (10 + step))
        exact = keep * exact + (1 - keep) * model.weight.detach().double()
        ema.update_parameters(model)
    (average,) = ema.module.parameters()
    assert model.weight.dtype == torch.bfloat16
    assert average.dtype == torch.float32
    assert torch.allclose(average.double(), exact, rtol=1e-4)


@pytest.mark.parametrize("recorded", [False, True])
def test_buffers_are_those_of_the_model(recorded: bool) -> None:
    model = nn.BatchNorm1d(2)
    ema = EMA(model, decaying(0.9))
    for _ in range(3):
        model(torch.randn(8, 2) + 5)
        if recorded:
            ema.move_towards(model, torch.tensor(ema.next_share()))
        else:
            ema.update_parameters(model)
    average = dict(ema.module.named_buffers())
    assert all(torch.equal(average[name], buffer) for name, buffer in model.named_buffers())
