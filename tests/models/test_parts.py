"""The parts that a block is made of, against what their papers say."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from aaa.models.block import BlockContext, DiTBlock
from aaa.models.costs import count_parameters
from aaa.models.design import Design
from aaa.models.mlp import make_mlp
from aaa.models.qk_norm import QKNorm
from aaa.models.two_streams import TwoStreamBlock
from tests.helpers.designs import inputs, small


def tokens(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def context(count: int, **told: Any) -> BlockContext:
    return BlockContext(tokens(1, count, 16), tokens(2, 16), 3, 4, **told)


def scrambled(module: nn.Module) -> None:
    """Weights that are all different, also of what begins with ones or nothing."""
    draws = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=draws))


def test_queries_and_keys_are_divided_by_their_root_mean_square() -> None:
    norm = QKNorm(8).double()
    scrambled(norm)
    both = torch.stack([50 * tokens(2, 3, 5, 8), 0.1 * tokens(2, 3, 5, 8)]).double().requires_grad_()
    scales = torch.stack([norm.scale_q, norm.scale_k])[:, None, None, None]
    expected = nn.functional.rms_norm(both, (8,), eps=1e-6) * scales
    torch.testing.assert_close(norm(both), expected, atol=1e-6, rtol=1e-6)
    inputs_of = (both, norm.scale_q, norm.scale_k)
    weights = tokens(2, 2, 3, 5, 8).double()
    gradients = (torch.autograd.grad((out * weights).sum(), inputs_of) for out in (norm(both), expected))
    for found, right in zip(*gradients, strict=True):
        torch.testing.assert_close(found, right, atol=1e-6, rtol=1e-5)
    fresh = QKNorm(8)(both.float())
    torch.testing.assert_close(fresh[0].square().mean(dim=-1), torch.ones(2, 3, 5))
    assert norm.bfloat16()(both.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize(("dim", "ratio"), [(128, 3.0), (320, 3.0), (1024, 3.0), (256, 4.0), (64, 2.5)])
def test_mlps_have_as_many_parameters(dim: int, ratio: float) -> None:
    counts = {kind: count_parameters(make_mlp(kind, dim, ratio)) for kind in ("silu", "relu2", "swiglu")}
    assert counts["relu2"] == counts["silu"]
    assert counts["swiglu"] == pytest.approx(counts["silu"], rel=0.02)


def test_mlps_are_their_equations() -> None:
    x = tokens(2, 5, 16)
    swiglu, relu2 = make_mlp("swiglu", 16, 3.0), make_mlp("relu2", 16, 3.0)
    w = {name: tensor.detach() for name, tensor in swiglu.named_parameters()}
    gate, value = (x @ w[f"to_{name}.weight"].T + w[f"to_{name}.bias"] for name in ("gate", "value"))
    expected = (gate / (1 + (-gate).exp()) * value) @ w["to_out.weight"].T + w["to_out.bias"]
    torch.testing.assert_close(swiglu(x), expected)
    w = {name: tensor.detach() for name, tensor in relu2.named_parameters()}
    hidden = x @ w["0.weight"].T + w["0.bias"]
    expected = torch.where(hidden > 0, hidden**2, 0) @ w["2.weight"].T + w["2.bias"]
    torch.testing.assert_close(relu2(x), expected)


@pytest.mark.parametrize("modulation", ["adaln", "adaln_shared"])
@pytest.mark.parametrize("joint", ["single", "mmdit", "cross"])
def test_adaln_begins_as_the_identity(modulation: str, joint: str) -> None:
    model = small(init="scaled", modulation=modulation, joint=joint)
    output = model(*inputs(), hidden_after=[1, 3])
    latents = inputs()[0].flatten(2).transpose(1, 2)
    for hidden in output.hidden.values():
        assert torch.equal(hidden, model.image_embedder(latents))


def _adaln_by_hand(block: DiTBlock, x: Tensor, modulation: Tensor, positions: Tensor) -> Tensor:
    gate_a, scale_a, shift_a, gate_m, scale_m, shift_m = modulation[:, None].split(16, dim=-1)

    def normal(x: Tensor) -> Tensor:
        return (x + positions) / ((x + positions).square().mean(dim=-1, keepdim=True) + 1.2e-7).sqrt()

    entering = normal(x) * (1 + scale_a) + shift_a
    q, k, v = (layer(entering).unflatten(-1, (2, 8)).transpose(1, 2) for layer in (block.to_q, block.to_k, block.to_v))
    attended = ((q @ k.mT / 8**0.5).softmax(dim=-1) @ v).transpose(1, 2).flatten(2)
    x = x + gate_a * block.to_out(attended)
    return x + gate_m * block.ff(normal(x) * (1 + scale_m) + shift_m)


def test_adaln_is_its_equation() -> None:
    x, told = tokens(2, 17, 16), context(17)
    block = DiTBlock(16, 2, 3.0, Design(modulation="adaln"))
    scrambled(block)
    emb = told.timestep_emb
    weights = dict(block.to_gate.named_parameters())
    made = (emb / (1 + (-emb).exp())) @ weights["weight"].T + weights["bias"]
    torch.testing.assert_close(block(x, told), _adaln_by_hand(block, x, made, told.positions))
    block = DiTBlock(16, 2, 3.0, Design(modulation="adaln_shared"))
    scrambled(block)
    shared = tokens(2, 96)
    expected = _adaln_by_hand(block, x, shared + block.get_parameter("to_gate.offset"), told.positions)
    torch.testing.assert_close(block(x, told._replace(modulation=shared)), expected)


def test_one_matrix_makes_the_modulation_of_all_blocks() -> None:
    shared, each = small(modulation="adaln_shared"), small(modulation="adaln")
    assert count_parameters(each) - count_parameters(shared) == 2 * (16 * 96 + 96) - 3 * 96
    expected = nn.functional.silu(tokens(2, 16)) @ shared.get_parameter("modulation.1.weight").T
    assert shared.modulation is not None
    torch.testing.assert_close(shared.modulation(tokens(2, 16)), expected + shared.get_parameter("modulation.1.bias"))


def test_without_modulation_the_timestep_is_a_token() -> None:
    model = small(modulation="none")
    assert not [name for name, _ in model.named_parameters() if "to_gate" in name]
    latents, prompt_embeds, timestep = inputs()
    assert not torch.allclose(model(latents, prompt_embeds, timestep), model(latents, prompt_embeds, timestep + 90))
    assert torch.allclose(
        model(latents[:1], prompt_embeds[:1], timestep[:1]), model(latents, prompt_embeds, timestep)[:1]
    )


def test_values_of_the_first_block_are_mixed_in() -> None:
    design = Design(value_residual=True)
    first, later = DiTBlock(16, 2, 3.0, design, first=True), DiTBlock(16, 2, 3.0, design)
    plain = DiTBlock(16, 2, 3.0)
    plain.load_state_dict({k: v for k, v in later.state_dict().items() if k != "value_residual.share"})
    x, told = tokens(2, 17, 16), context(17)
    out = first.with_values(x, told)
    normal = nn.functional.rms_norm(x + told.positions, (16,))
    values = [block.to_v(normal).unflatten(-1, (2, 8)).transpose(1, 2) for block in (first, later)]
    torch.testing.assert_close(out.values, values[0])
    with torch.no_grad():
        later.get_parameter("value_residual.share").fill_(0.25)
        mixed = 0.25 * values[0] + 0.75 * values[1]
        q, k, _ = plain.queries_keys_values(x, plain.branches(told)[0], told)
        weights = (q @ k.mT / 8**0.5).softmax(dim=-1)
        branch, mlp = plain.branches(told)
        expected = plain.add_mlp(plain.add_attention(x, weights @ mixed, branch), mlp, told)
    torch.testing.assert_close(later(x, told._replace(first_values=out.values)), expected)
    assert "blocks.0.value_residual.share" not in dict(small(value_residual=True).named_parameters())


def test_the_refiner_sees_the_prompt_alone() -> None:
    model = small(text_refiner=2)
    seen: list[Tensor] = []
    for block in model.text_refiner.blocks:  # type: ignore[union-attr]
        block.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    latents, prompt_embeds, timestep = inputs()
    model(latents, prompt_embeds, timestep)
    model(-latents, prompt_embeds, 1000 - timestep)
    assert [tuple(output.shape) for output in seen] == [(2, 5, 16)] * 4
    assert torch.equal(seen[1], seen[3])
    prompt_embeds[:, 0] += 1
    model(latents, prompt_embeds, timestep)
    assert (seen[5] - seen[1]).abs().amin(dim=(0, 2)).min() > 0, "every word has read every other"


def test_two_streams_with_equal_weights_are_one() -> None:
    design = Design(joint="mmdit", qk_norm=True)
    one, two = DiTBlock(16, 2, 3.0, design), TwoStreamBlock(16, 2, 3.0, design)
    scrambled(one)
    two.latents.load_state_dict(one.state_dict())
    two.text.load_state_dict(one.state_dict())
    x, told = tokens(2, 17, 16), context(17, text_tokens=5)
    torch.testing.assert_close(two(x, told), one(x, told))
    scrambled(two.text)
    with torch.no_grad():
        two.text.to_v.weight.add_(1)
    assert not torch.allclose(two(x, told), one(x, told))


def test_the_prompts_own_weights_see_the_prompts_tokens_only() -> None:
    model = small(joint="mmdit", registers=1)
    shapes: dict[str, torch.Size] = {}
    for name, module in model.named_modules():
        if name.endswith("ff"):
            module.register_forward_hook(lambda _m, _i, output, name=name: shapes.update({name: output.shape}))
    model(*inputs())
    assert shapes == {
        "blocks.0.latents.ff": (2, 13, 16),
        "blocks.0.text.ff": (2, 5, 16),
        "blocks.1.latents.ff": (2, 13, 16),
        "blocks.1.text.ff": (2, 5, 16),
        "blocks.2.ff": (2, 12, 16),  # the latents alone, which are all that is read of it
    }


def test_a_latent_passes_through_the_bottleneck() -> None:
    model = small(patch_bottleneck=2)
    weights = [model.get_parameter(f"image_embedder.{layer}.weight") for layer in (0, 1)]
    assert [tuple(weight.shape) for weight in weights] == [(2, 4), (16, 2)]


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"text_refiner": 1},
        {"joint": "mmdit", "positions": "rope"},
        {"joint": "cross"},
        {"joint": "cross", "positions": "rope", "text_positions": "rope", "qk_norm": True, "registers": 1},
        {"text_positions": "rope"},
    ],
)
def test_padding_makes_no_difference_where_it_is_masked(switches: dict[str, Any]) -> None:
    model = small(mask_padding=True, **switches)
    latents, prompt_embeds, timestep = inputs()
    prompt_embeds[:, 2:] = 0
    padded = model(latents, prompt_embeds, timestep)
    torch.testing.assert_close(padded, model(latents, prompt_embeds[:, :2], timestep))
    assert not torch.allclose(padded, small(**switches)(latents, prompt_embeds, timestep), atol=1e-4)
    empty = model(latents, torch.zeros_like(prompt_embeds), timestep)
    assert empty.isfinite().all()
    empty.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)
