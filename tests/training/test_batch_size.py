import pytest
import torch
from torch import nn

from aaa.assembly.parts import build_average, build_model, build_optimizer
from aaa.training.parameter_groups import group_rates
from tests.helpers.composed import compose


def model() -> nn.ModuleDict:
    return nn.ModuleDict({"blocks": nn.ModuleList([nn.Linear(4, 4)]), "last": nn.Linear(4, 1)})


@pytest.mark.parametrize(("batch_size", "times"), [(8, 0.5), (32, 1), (128, 2)])
@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_four_times_the_batch_takes_twice_the_rate_and_decays_as_much_a_sample(
    kind: str, batch_size: int, times: float
) -> None:
    told = (f"optimizer={kind}", f"trainer.batch_size={batch_size}")
    plain = build_optimizer(compose(*told), model())
    scaled = build_optimizer(compose(*told, "trainer.base_batch_size=32"), model())
    assert len(scaled.param_groups) == len(plain.param_groups)
    for before, after in zip(plain.param_groups, scaled.param_groups, strict=True):
        assert after["lr"] == times * before["lr"]
        decays = [group["lr"] * group["weight_decay"] for group in (before, after)]
        assert decays[1] / batch_size == pytest.approx(decays[0] / 32)
    if batch_size == 32:
        assert str(scaled.state_dict()) == str(plain.state_dict())


def test_it_goes_with_the_rules_of_size_and_with_adamws_own_rate() -> None:
    wider = ("model.parametrization=mup", "model.dim=256", "model.heads=16", "encoder.latent_channels=12")
    rates = []
    for told in ((), ("trainer.base_batch_size=8",)):
        config = compose(*wider, "optimizer.adamw_learning_rate=1e-3", *told)
        with torch.device("meta"):
            larger = build_model(config)
        rates.append(group_rates(build_optimizer(config, larger)))
    assert rates[0].keys() == rates[1].keys()
    assert [rates[1][name] / rate for name, rate in rates[0].items()] == pytest.approx([2.0] * len(rates[0]))


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        (["trainer.ema_decay=0.9"], 0.9),
        (["trainer.ema_decay=null", "trainer.ema_memory=640", "trainer.batch_size=32"], 0.95),
        (["trainer.ema_decay=null", "trainer.ema_memory=640", "trainer.batch_size=64"], 0.9),
        (["trainer.ema_decay=null", "trainer.ema_memory=0.25"], (1000 / 1001) ** 3),
    ],
)
def test_the_average_has_the_memory_that_it_is_told(told: list[str], kept: float) -> None:
    average = build_average(compose(*told), model())
    assert average is not None
    assert average.keep(1000) == pytest.approx(kept)


@pytest.mark.parametrize("told", ["trainer.ema_decay=0", "trainer.ema_decay=null"])
def test_there_may_be_no_average(told: str) -> None:
    assert build_average(compose(told), model()) is None
