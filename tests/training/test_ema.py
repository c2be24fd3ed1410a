import torch
from torch import nn

from aaa.training.ema import EMA


def test_the_average_warms_up_and_then_decays_as_configured() -> None:
    model = nn.Linear(1, 1, bias=False)
    ema = EMA(model, decay=0.6)
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
    ema = EMA(model, decay=0.9)
    before = model.weight.clone()
    ema.update_parameters(model)
    ema.update_parameters(model)
    assert torch.equal(model.weight, before)
