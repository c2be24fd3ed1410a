import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from aaa.assembly.parts import build_model, build_optimizer
from aaa.errors import UserError
from aaa.models.parametrization import scale_initial_values
from aaa.training.optimizers import MuonWithAdamW, adamw
from aaa.training.parameter_groups import learning_rates, regroup
from aaa.training.parametrization import rates_by_growth
from tests.helpers.composed import compose
from tests.helpers.composed_model import compose_model
from tests.models.test_parametrization import grown


def optimizer_of(kind: str, model: nn.Module) -> Optimizer:
    if kind == "adamw":
        return adamw(model.named_parameters(), 3e-3, 0.1, [0.9, 0.99])
    return MuonWithAdamW(model.named_parameters(), 1e-2, 0.1, 0.95, [0.9, 0.99])


def change_of_tokens(kind: str, dim: int, depth: int, *, parametrization: str) -> float:
    """Root mean square of what three steps change of the last block's tokens."""
    torch.manual_seed(0)
    model, found = grown(dim, depth)
    optimizer = optimizer_of(kind, model)
    if parametrization == "mup":
        scale_initial_values(model, found)
        regroup(optimizer, model.named_parameters(), rates_by_growth(found))
    draws = torch.Generator().manual_seed(1)
    latents, target = torch.randn(2, 8, 12, 4, 4, generator=draws)
    prompts = torch.randn(8, 3, 24, generator=draws)
    seen: list[torch.Tensor] = []
    model.blocks[-1].register_forward_hook(lambda _block, _inputs, tokens: seen.append(tokens.detach()))
    for _ in range(4):
        (model(latents, prompts, torch.linspace(50, 950, 8)) - target).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return (seen[-1] - seen[0]).square().mean().sqrt().item()


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_steps_change_tokens_as_much_at_every_width_and_depth(kind: str) -> None:
    def spread(sizes: list[tuple[int, int]], parametrization: str) -> float:
        changes = [change_of_tokens(kind, *size, parametrization=parametrization) for size in sizes]
        return max(changes) / min(changes)

    widths, depths = [(dim, 2) for dim in (32, 64, 256)], [(32, depth) for depth in (2, 4, 16)]
    assert spread(widths, "mup") < 1.5
    assert spread(depths, "mup") < 1.5
    assert spread(widths, "standard") > 2
    assert spread(depths, "standard") > 2


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_at_the_base_nothing_changes_to_the_bit(kind: str) -> None:
    rate = "optimizer.learning_rate=5e-3"
    model, optimizer = compose_model(f"optimizer={kind}", rate)
    same, likewise = compose_model(f"optimizer={kind}", rate, "model.parametrization=mup")
    for mine, theirs in zip(model.parameters(), same.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert optimizer.state_dict() == likewise.state_dict()


WIDER = ("model.dim=256", "model.heads=4", "model.depth=10", "model.parametrization=mup")


def test_each_group_says_its_own_rate_and_takes_the_same_share_of_its_weights() -> None:
    model, optimizer = compose_model(*WIDER, "optimizer.decayed=matrices")
    assert learning_rates(optimizer) == pytest.approx(
        {
            "train/lr": 5e-3 / 2**0.5,  # the first group's, which are Muon's
            "train/lr_muon_hidden": 5e-3 / 2**0.5,
            "train/lr_muon_hidden_to_stream": 5e-3 / 2**1.5,
            "train/lr_adamw_base": 5e-3,
            "train/lr_adamw_hidden": 5e-3 / 2,
            "train/lr_adamw_output": 5e-3 / 2,
            "train/lr_adamw_vector_to_stream": 5e-3 / 2,
        }
    )
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))
    shares = {group["lr"] * group["weight_decay"] for group in optimizer.param_groups}
    assert sorted(shares) == pytest.approx([0.0, *[5e-3 * 0.01] * (len(shares) - 1)])


def test_a_shallower_model_tells_the_ends_of_branches_from_the_rest_too() -> None:
    model, found = grown(32, 2, base_depth=4)
    optimizer = optimizer_of("muon", model)
    regroup(optimizer, model.named_parameters(), rates_by_growth(found))
    assert learning_rates(optimizer) == pytest.approx(
        {
            "train/lr": 1e-2,
            "train/lr_muon_base": 1e-2,
            "train/lr_muon_fixed_to_stream": 2e-2,
            "train/lr_adamw_base": 1e-2,
            "train/lr_adamw_vector_to_stream": 2e-2,
        }
    )


DESIGNS = [
    ("block=modern", "model.joint=mmdit", "model.text_refiner=1", "optimizer=muon", "optimizer.fused=parts"),
    ("model.modulation=adaln_shared", "model.value_residual=true", "model.registers=2", "optimizer=adamw"),
    ("block=modern", "model.joint=cross", "model.pooled_prompt=true", "model.registers=1", "optimizer=muon"),
    ("model.modulation=none", "model.patch_bottleneck=4", "model.mlp=swiglu", "model.qk_norm=true", "optimizer=muon"),
]


@pytest.mark.parametrize("design", DESIGNS)
def test_every_design_has_each_parameter_in_one_group_and_learns(design: tuple[str, ...]) -> None:
    larger = (
        "model.dim=64",
        "model.heads=4",
        "model.depth=3",
        "model.base_dim=32",
        "model.base_heads=2",
        "model.base_depth=2",
    )
    model, optimizer = compose_model(*design, *larger, "model.parametrization=mup", "optimizer.decayed=matrices")
    grouped = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(map(id, model.parameters()))
    torch.manual_seed(0)
    latents, prompts, timesteps = torch.randn(4, 12, 4, 4), torch.randn(4, 3, 128), torch.linspace(50, 950, 4)
    losses = []
    for _ in range(4):
        losses.append((model(latents, prompts, timesteps) - latents).square().mean())
        losses[-1].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0]


def test_an_optimizer_without_rules_is_refused() -> None:
    config = compose("encoder.latent_channels=12", *WIDER)
    config.optimizer = {"_target_": "torch.optim.SGD", "lr": 0.1}
    with pytest.raises(UserError, match=r"model.parametrization=mup has rules for AdamW and Muon, not SGD"):
        build_optimizer(config, build_model(config))
