"""The prompt as keys and values alone: against torch's own attention, and what it leaves out."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from torch import Tensor

from aaa.models.block import BlockContext
from aaa.models.cross import CrossBlock
from aaa.models.design import Design
from aaa.models.rope import of_words, rotation
from aaa.models.routing import Routing
from tests.helpers.designs import designs, inputs, small
from tests.models.test_parts import scrambled, tokens


def _turned(x: Tensor, turns: Tensor) -> Tensor:
    """Of `B heads N head_dim` each pair of numbers as one complex number."""
    one, other = x.chunk(2, dim=-1)
    numbers = torch.complex(one, other) * torch.complex(*turns)
    return torch.cat([numbers.real, numbers.imag], dim=-1)


def _block_by_hand(block: CrossBlock, x: Tensor, told: BlockContext) -> Tensor:
    """Of 12 latents and 5 words: normalised queries and keys, turned; no key where padding is; gates."""
    own, text = (
        part + place for part, place in zip(x.split((12, 5), 1), told.positions.split((12, 5), 1), strict=True)
    )
    normal, normal_text = F.rms_norm(own, (16,)), F.rms_norm(text, (16,))

    def heads(layer: torch.nn.Module, of: Tensor) -> Tensor:
        return layer(of).unflatten(-1, (2, 8)).transpose(1, 2)

    weights = dict(block.named_parameters())
    assert told.rotation is not None
    q, k, text_k = (
        _turned(F.rms_norm(heads(layer, of), (8,), eps=1e-6) * weights[scale], turns)
        for layer, of, scale, turns in (
            (block.to_q, normal, "qk_norm.scale_q", told.rotation[:, :12]),
            (block.to_k, normal, "qk_norm.scale_k", told.rotation[:, :12]),
            (block.text.to_k, normal_text, "text.key_norm.scale_k", told.rotation[:, 12:]),
        )
    )
    keys, values = (
        torch.cat([k, text_k], 2),
        torch.cat([heads(block.to_v, normal), heads(block.text.to_v, normal_text)], 2),
    )
    found = F.scaled_dot_product_attention(q, keys, values, attn_mask=told.attended).transpose(1, 2).flatten(2)
    gates = 1 + (told.timestep_emb @ weights["to_gate.weight"].T + weights["to_gate.bias"])[:, None]
    latents = x[:, :12] + gates[..., :16] * block.to_out(found)
    return latents + gates[..., 16:] * block.ff(F.rms_norm(latents + told.positions[:, :12], (16,)))


@pytest.mark.parametrize("wanted", [None, 12])
def test_latents_attend_to_themselves_and_to_the_prompt_at_once(wanted: int | None) -> None:
    block = CrossBlock(16, 2, 3.0, Design(joint="cross", qk_norm=True))
    scrambled(block)
    x, cpu = tokens(2, 17, 16).requires_grad_(), torch.device("cpu")
    turns = torch.cat([rotation(3, 4, 0, 8, 4, cpu), of_words(3, 4, 5, 8, 4, cpu)], dim=1)
    attended = torch.ones(2, 1, 1, 17, dtype=torch.bool)
    attended[1, ..., 14:] = False
    told = BlockContext(
        tokens(1, 17, 16), tokens(2, 16), 3, 4, text_tokens=5, rotation=turns, attended=attended, wanted=wanted
    )
    out, expected = block(x, told), _block_by_hand(block, x, told)
    torch.testing.assert_close(out[:, :12], expected)
    assert out.shape[1] == (wanted or 17)
    assert torch.equal(out[:, 12:], x[:, 12 : out.shape[1]])
    found, right = (
        torch.autograd.grad(made[:, :12].square().sum(), x, retain_graph=True)[0] for made in (out, expected)
    )
    torch.testing.assert_close(found, right, atol=1e-4, rtol=1e-4)


def test_words_pass_through_no_mlp_and_stay_what_they_were() -> None:
    model = small(joint="cross", registers=1, text_refiner=1)
    seen: dict[str, list[int]] = {"blocks": [], "mlp": []}
    given: list[Tensor] = []
    for block in model.blocks:
        block.register_forward_pre_hook(lambda _block, args: given.append(args[0]))
        block.register_forward_hook(lambda _block, _args, out: seen["blocks"].append(out.shape[1]))
        block.get_submodule("ff").register_forward_hook(lambda _mlp, _args, out: seen["mlp"].append(out.shape[1]))
    model(*inputs())
    assert seen == {"blocks": [18, 18, 12], "mlp": [13, 13, 12]}
    assert all(torch.equal(x[:, 13:], given[0][:, 13:]) for x in given)


def test_what_is_made_of_the_prompt_depends_on_nothing_else() -> None:
    """Neither on the picture nor on the noise, so that it is the same in each step of a sampler."""
    model = small(joint="cross", text_refiner=1, qk_norm=True, modulation="adaln")
    made: list[Tensor] = []
    for block in model.blocks:
        block.get_submodule("text").register_forward_hook(lambda _part, _args, out: made.extend(out))
    latents, prompt_embeds, timestep = inputs()
    model(latents, prompt_embeds, timestep)
    model(-latents, prompt_embeds, 1000 - timestep)
    for one, other in zip(made[:6], made[6:], strict=True):
        assert torch.equal(one, other)


@settings(max_examples=8, deadline=None)
@given(designs())
def test_every_block_learns_of_the_prompt(switches: dict[str, Any]) -> None:
    model = small(**switches | {"joint": "cross"}, routing=Routing(0.5, 2, 2))
    generator = torch.Generator().manual_seed(0)
    out = model(*inputs(), generator=generator, with_internal=model.internal_head is not None)
    (out if isinstance(out, Tensor) else out.prediction).square().sum().backward()
    for number in range(3):
        for name in ("to_k", "to_v"):
            grad = model.get_parameter(f"blocks.{number}.text.{name}.weight").grad
            assert grad is not None
            assert grad.abs().max() > 0
    grad = model.get_parameter("text_embedder.0.weight").grad
    assert grad is not None
    assert grad.abs().max() > 0


def test_a_block_is_enough() -> None:
    """Unlike MM-DiT's, whose last has one stream."""
    latents, prompt_embeds, timestep = inputs()
    model = small(depth=1, joint="cross")
    assert not torch.allclose(model(latents, prompt_embeds, timestep), model(latents, -prompt_embeds, timestep))


@pytest.mark.parametrize("switches", [{}, {"qk_norm": True, "text_positions": "rope", "pooled_prompt": True}])
def test_prompts_may_be_of_no_tokens(switches: dict[str, Any]) -> None:
    latents, prompt_embeds, timestep = inputs()
    model = small(joint="cross", **switches)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(latents, prompt_embeds[:, :0], timestep).isfinite().all()
