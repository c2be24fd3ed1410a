"""The architecture's switches: alone, in any combination, saved and loaded, counted, refused."""

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aaa.errors import UserError
from aaa.models.block import BlockContext, DiTBlock
from aaa.models.costs import forward_flops
from aaa.models.design import Design, require_unused
from aaa.models.dit import AAADiT
from aaa.models.factory import build_dit
from aaa.models.modulation import Branch
from aaa.models.routing import Routing
from aaa.run.budget import keep_to_parameters
from aaa.saved.checkpoint import load_weights, save_weights
from aaa.saved.model_card import model_card
from aaa.saved.weights_file import DiTNumbers, other_numbers, read_dit_numbers
from tests.helpers.composed import compose
from tests.helpers.designs import SWITCHES, designs, inputs, small, trained_on
from tests.helpers.flops import counted_flops
from tests.helpers.weights_metadata import model_header


@pytest.mark.parametrize("name", SWITCHES)
def test_flops_are_those_that_torch_counts(name: str) -> None:
    model = small(**SWITCHES[name])
    with counted_flops() as counter, torch.no_grad():
        trained_on(model, inputs(samples=1), None)
    assert forward_flops(model, 3, 4, 5, channels=4, text_dim=8) == counter.get_total_flops()


@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_changes_what_is_computed_and_a_fresh_model_does_nothing(name: str) -> None:
    if name not in ("tutorial", "internal_head", "pooled_prompt"):
        assert not torch.allclose(small(**SWITCHES[name])(*inputs()), small()(*inputs()))
    model = small(init="scaled", **SWITCHES[name])
    assert model(*inputs()).abs().max() == 0
    (model(*inputs()) - 1).square().mean().backward()
    assert model.proj_out.weight.grad is not None
    assert model.proj_out.weight.grad.abs().max() > 0


@settings(max_examples=25, deadline=None)
@given(switches=designs(), depth=st.integers(2, 3), height=st.integers(1, 5), width=st.integers(1, 5))
def test_any_combination_trains_and_is_saved_and_loaded(
    switches: dict[str, Any], depth: int, height: int, width: int
) -> None:
    model = small(depth=depth, **switches)
    tensors = inputs(height, width)
    output, _, internal, _ = trained_on(model, tensors, None)
    assert output.shape == tensors[0].shape
    (output.square().sum() + (0 if internal is None else internal.sum())).backward()
    # A parameter without a gradient would stop training by several processes.
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    numbers = DiTNumbers(16, depth, 2, 4, 8, 3.0, 4, **switches)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_weights(path, model, {"model": model_header(numbers)})
        assert read_dit_numbers(path) == numbers
        again = build_dit(**asdict(read_dit_numbers(path)))
        load_weights(path, again)
    assert torch.equal(again(*tensors), output)
    assert forward_flops(model, height, width, 5, channels=4, text_dim=8) == _counted(model, height, width)


def _counted(model: AAADiT, height: int, width: int) -> int:
    with counted_flops() as counter, torch.no_grad():
        trained_on(model, inputs(height, width, samples=1), None)
    return counter.get_total_flops()


@pytest.mark.parametrize("joint", ["mmdit", "cross"])
def test_shapes_tell_the_design_where_the_header_is_missing(tmp_path: Path, joint: str) -> None:
    switches: dict[str, Any] = {"positions": "rope", "qk_norm": True, "mlp": "swiglu", "joint": joint, "registers": 2}
    switches["pooled_prompt"] = True
    save_weights(tmp_path / "a.safetensors", small(**switches), {})
    found = read_dit_numbers(tmp_path / "a.safetensors", heads=2)
    assert {key: getattr(found, key) for key in switches} == switches
    other = other_numbers(tmp_path / "a.safetensors", asdict(DiTNumbers(16, 3, 2, 4, 8, 3.0, 16, mlp="silu")))
    assert other == switches


@pytest.mark.parametrize(
    ("switches", "depth", "message"),
    [
        ({"positions": "sincos"}, 2, r"model\.positions=sincos: must be one of learned, rope"),
        ({"mlp": "gelu"}, 2, r"model\.mlp=gelu: must be one of silu, relu2, swiglu"),
        ({"registers": -1}, 2, r"model\.registers=-1: must be at least 0"),
        ({"patch_bottleneck": 0}, 2, r"model\.patch_bottleneck=0: must be at least 1"),
        ({"internal_head": 3}, 2, r"model\.internal_head=3: must be at least 1 and at most model\.depth=2"),
        ({"joint": "mmdit"}, 1, r"model\.joint=mmdit: model\.depth=1"),
        ({"value_residual": True}, 1, r"model\.value_residual=true: model\.depth=1"),
        ({"qk_norm": True, "block": DiTBlock}, 2, r"model\.qk_norm=true: the class that model\.block names"),
        ({"joint": "cross", "block": DiTBlock}, 2, r"model\.joint=cross: the class that model\.block names"),
    ],
)
def test_what_no_model_has_is_refused(switches: dict[str, Any], depth: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        small(depth=depth, **switches)


def test_what_is_off_is_off_however_it_is_said(tmp_path: Path) -> None:
    """As a sweep says it: `model.pooled_prompt=false,true`."""
    require_unused(Design(pooled_prompt=False), "architecture")
    small(pooled_prompt=False, block=DiTBlock)
    save_weights(tmp_path / "a.safetensors", small(), {})
    numbers = asdict(DiTNumbers(16, 3, 2, 4, 8, 3.0, 4, pooled_prompt=False))
    assert other_numbers(tmp_path / "a.safetensors", numbers) == {}


def test_a_head_that_cannot_turn_is_refused() -> None:
    with pytest.raises(UserError, match=r"model\.positions=rope .* model\.dim=24 / model\.heads=4"):
        build_dit(24, 2, 4, in_channels=4, text_dim=8, positions="rope")


def test_the_card_says_how_the_architecture_differs_from_the_tutorials() -> None:
    model = {"dim": 16, "depth": 3, "heads": 2}
    config = {
        "name": "run",
        "model": model | asdict(Design(qk_norm=True, mlp="swiglu")),
        "data": {"name": "shapes", "resolution": 32},
        "encoder": {"name": "pixel", "vae": {}, "text_encoder": {}},
        "trainer": {"ema_decay": 0.9, "precision": "float32"},
    }
    told = {"parameters": 1, "metrics": [{"step": 1, "samples": 1, "seconds": 1.0}], "device": "cpu", "prompt": "a"}
    assert "| architecture | qk_norm, mlp=swiglu |" in model_card(config, has_samples=False, **told)  # type: ignore[arg-type]
    assert "| architecture |" not in model_card(config | {"model": model}, has_samples=False, **told)  # type: ignore[arg-type]


def test_registers_and_the_timesteps_token_are_not_shown() -> None:
    model = small(registers=3, modulation="none")
    output = model(*inputs(), hidden_after=[2])
    assert output.hidden[2].shape == (2, 12, 16)
    assert output.prediction.shape == (2, 4, 3, 4)
    seen: list[BlockContext] = []
    model.blocks[0].register_forward_pre_hook(lambda _module, args: seen.append(args[1]))
    model(*inputs())
    assert seen[0].positions.shape[1] == 12 + 3 + 1 + 5
    assert seen[0].positions[0, 12:16].abs().max() == 0


@pytest.mark.parametrize("key", ["positions", "text_positions"])
def test_a_budget_of_parameters_leaves_heads_that_can_turn(key: str) -> None:
    config = compose("budget.parameters=2e6", f"model.{key}=rope", "model.heads=3")
    keep_to_parameters(config)
    assert config.model.dim % 12 == 0


def test_an_internal_head_starts_from_nothing_and_changes_no_other_weight() -> None:
    for init in ("scaled", "torch"):
        model, plain = small(init, internal_head=1), small(init)
        for name, parameter in plain.named_parameters():
            assert torch.equal(parameter, model.get_parameter(name))
        output = model(*inputs(), with_internal=True)
        assert output.internal.abs().max() == 0
        assert torch.equal(output.prediction, plain(*inputs()))
        assert torch.equal(output.prediction, model(*inputs()))
    with pytest.raises(ValueError, match="internal head is wanted, and there is none"):
        plain(*inputs(), with_internal=True)


def test_an_internal_head_of_which_no_block_is_said_is_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "a.safetensors", small(internal_head=1), {})
    with pytest.raises(UserError, match="its header does not say after which block"):
        read_dit_numbers(tmp_path / "a.safetensors", heads=2)


@pytest.mark.parametrize("switches", SWITCHES.values(), ids=list(SWITCHES))
def test_leaving_out_what_nothing_reads_of_the_last_block_changes_nothing(
    switches: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small(**switches).double()
    tensors = tuple(tensor.double() for tensor in inputs())
    found = []
    for _ in range(2):
        out = trained_on(model, tensors, None)  # type: ignore[arg-type]
        predicted = [out.prediction, *out.hidden.values()]
        torch.stack([part.square().sum() for part in predicted]).sum().backward()
        found.append([*predicted, *(weight.grad for weight in model.parameters() if weight.grad is not None)])
        model.zero_grad()
        monkeypatch.setattr(AAADiT, "_gives_latents_alone", lambda _model, _number: False)
    for alone, among_all in zip(*found, strict=True):
        torch.testing.assert_close(alone, among_all, atol=1e-12, rtol=1e-9)


def test_the_last_block_makes_latents_alone_where_it_is_ours() -> None:
    class Halved(DiTBlock):
        """Which adds what it was given, and so wants all of it back."""

        def forward(self, x: Tensor, context: BlockContext) -> Tensor:
            return 0.5 * (x + super().forward(x, context))

    class OtherMLP(DiTBlock):
        """Which may treat the prompt in another way."""

        def add_mlp(self, x: Tensor, branch: Branch, context: BlockContext) -> Tensor:
            return super().add_mlp(x, branch, context)

    class OtherStart(DiTBlock):
        """Which computes as ours."""

        def init_weights(self, depth: int) -> None:
            super().init_weights(2 * depth)

    def rows(model: AAADiT) -> list[int]:
        seen: list[int] = []
        for block in model.blocks:
            block.register_forward_hook(lambda _block, _inputs, output: seen.append(output.shape[1]))
        model(*inputs())
        return seen

    assert rows(small(registers=2)) == [19, 19, 12]
    assert rows(small(block=Halved)) == rows(small(block=OtherMLP)) == [17, 17, 17]
    assert rows(small(block=OtherStart)) == [17, 17, 12]
    assert rows(small(routing=Routing(0.5, 2, 3))) == [17, 17, 17]
    assert rows(small(routing=Routing(0.5, 2, 2))) == [17, 17, 12]


@settings(max_examples=15)
@given(designs())
def test_what_blocks_add_to_is_float32_where_products_are_not(switches: dict[str, Any]) -> None:
    model = small(**switches)
    seen: list[torch.dtype] = []
    blocks = [*model.blocks, *([] if model.text_refiner is None else model.text_refiner.blocks)]
    for block in blocks:
        block.register_forward_hook(lambda _module, args, out: seen.extend([args[0].dtype, out.dtype]))
    with torch.autocast("cpu", torch.bfloat16):
        model(*inputs())
    assert set(seen) == {torch.float32}
