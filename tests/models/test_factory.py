from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from aaa.config.groups import CONF
from aaa.errors import UserError
from aaa.models.costs import count_parameters, forward_flops
from aaa.models.factory import build_dit

NAMED = {
    "dit_tiny": 1e6,
    "dit_10m": 10e6,
    "dit_30m": 30e6,
    "dit_0.1b": 128_824_448,
    "dit_0.3b": 0.3e9,
    "dit_0.6b": 0.6e9,
    "dit_1b": 1e9,
}


def preset(path: Path) -> dict[str, Any]:
    content = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(content, dict)
    no_numbers = ("defaults", "name", "parametrization", "base_heads")
    return {str(key): value for key, value in content.items() if key not in no_numbers}


def test_every_preset_is_listed_here() -> None:
    assert {path.stem for path in (CONF / "model").glob("*.yaml")} == set(NAMED)


@pytest.mark.parametrize("name", NAMED)
def test_a_preset_has_about_as_many_parameters_as_its_name_says(name: str) -> None:
    channels, text_dim = (48, 128) if name == "dit_tiny" else (128, 1024)
    with torch.device("meta"):
        model = build_dit(
            **preset(CONF / "model" / f"{name}.yaml"), in_channels=channels, text_dim=text_dim, init="torch"
        )
    assert count_parameters(model) == pytest.approx(NAMED[name], rel=0.1)


@pytest.mark.parametrize("name", sorted(set(NAMED) - {"dit_0.1b"}))
def test_presets_follow_the_stated_rule(name: str) -> None:
    numbers = preset(CONF / "model" / f"{name}.yaml")
    assert numbers["dim"] / numbers["heads"] == (16 if name == "dit_tiny" else 64)
    assert 25 <= numbers["dim"] / numbers["depth"] <= 105


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"heads": 3}, "model.heads=3 does not divide model.dim=64; the nearest number that does: 2"),
        ({"depth": 0}, "model.depth=0: must be at least 1"),
        ({"dim": 66, "heads": 2}, "model.dim=66: must be divisible by 4"),
        ({"mlp_ratio": 0.0}, "model.mlp_ratio=0.0"),
        ({"init": "zeros"}, "model.init=zeros: must be one of scaled, torch"),
    ],
)
def test_numbers_that_make_no_model_are_refused(changed: dict[str, int], message: str) -> None:
    numbers = {"dim": 64, "depth": 2, "heads": 2, "in_channels": 12, "text_dim": 16} | changed
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        build_dit(**numbers)  # type: ignore[arg-type]


def test_a_fresh_model_predicts_zero_and_learns_from_its_first_step() -> None:
    torch.manual_seed(0)
    model = build_dit(64, 2, 2, in_channels=12, text_dim=16)
    output = model(torch.randn(2, 12, 4, 4), torch.randn(2, 3, 16), torch.tensor([10.0, 900.0]))
    assert output.abs().max() == 0
    (output - 1).square().mean().backward()
    gradient = model.proj_out.weight.grad
    assert gradient is not None
    assert gradient.abs().max() > 0


def test_flops_agree_with_torchs_counter() -> None:
    from tests.helpers.flops import counted_flops

    model = build_dit(64, 3, 2, in_channels=12, text_dim=16)
    with counted_flops() as counter, torch.no_grad():
        model(torch.randn(1, 12, 8, 8), torch.randn(1, 10, 16), torch.tensor([10.0]))
    counted = counter.get_total_flops()
    assert forward_flops(model, 8, 8, 10, channels=12, text_dim=24) == pytest.approx(counted, rel=0.01)

    class Foreign(torch.nn.Conv2d):
        def forward(self, latents: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
            return super().forward(latents)

    foreign = Foreign(12, 12, 3, padding=1)
    found = forward_flops(foreign, 8, 8, 10, channels=12, text_dim=24)
    assert found == 2 * 8 * 8 * 12 * 12 * 9, "of a class that is not ours torch counts"
