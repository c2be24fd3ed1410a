"""Tokens that skip blocks while training keep their places, and nothing else is different."""

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aaa.models.costs import forward_flops
from aaa.models.dit import AAADiT
from aaa.models.forward import WeakerWay
from aaa.models.routing import Detour, Routing
from aaa.models.sprint import Sprint
from tests.helpers.designs import designs, inputs, small, trained_on
from tests.helpers.flops import counted_flops
from tests.models.test_parts import context

HALF = Routing(rate=0.5, first=2, last=3)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def routed(routing: Routing | None = HALF, depth: int = 4, **switches: Any) -> AAADiT:
    return small(depth=depth, routing=routing, **switches)


@given(st.floats(0, 0.99), st.integers(1, 9), st.integers(0, 3), st.integers(0, 99))
def test_tokens_keep_their_places_and_others_all_stay(rate: float, latents: int, others: int, seed: int) -> None:
    routing = Routing(rate, 1, 1)
    x = torch.arange(2.0 * (latents + others) * 16).view(2, -1, 16)
    places = routing.draw(seeded(seed), x, latents)
    detour = Detour(x, context(latents + others), places)
    staying, told = detour.staying()
    assert places.shape == (2, routing.tokens(1, latents, others))
    assert (places.diff(dim=1) > 0).all()
    for sample in range(2):
        assert set(range(latents, latents + others)) <= set(places[sample].tolist())
        for place, token, position in zip(places[sample], staying[sample], told.positions[sample], strict=True):
            assert torch.equal(token, x[sample, place])
            assert torch.equal(position, detour.context.positions[0, place])
    back = detour.back(-staying)
    stayed = torch.zeros(2, latents + others, dtype=torch.bool).scatter(1, places, True)
    assert torch.equal(back, torch.where(stayed[..., None], -x, x))


def test_blocks_within_see_fewer_tokens_and_those_that_skip_are_as_before() -> None:
    model = routed()
    seen: list[tuple[Tensor, Tensor]] = []
    for block in model.blocks:
        block.register_forward_hook(lambda _module, args, output: seen.append((args[0], output)))
    output = model(*inputs(), generator=seeded(0), hidden_after=[1, 2, 3])
    assert [tokens.shape[1] for tokens, _ in seen] == [17, 11, 11, 17]
    before, after = output.hidden[1], output.hidden[3]
    skipped = (before == after).all(dim=-1)
    assert skipped.sum(dim=1).tolist() == [6, 6]
    assert torch.equal(output.hidden[2][skipped], before[skipped])
    assert torch.equal(seen[3][0][:, :12], after)
    assert not torch.equal(skipped[0], skipped[1]), "each picture has its own"


def test_nothing_is_routed_without_a_generator_and_the_seed_says_what_is() -> None:
    model, plain = routed(), small(depth=4)
    assert model.draws_while_training
    assert torch.equal(model(*inputs()), plain(*inputs()))
    first, again, other = (model(*inputs(), generator=seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    none = routed(Routing(rate=0.0, first=2, last=3))
    torch.testing.assert_close(none(*inputs(), generator=seeded(0)), plain(*inputs()))


@settings(max_examples=15)
@given(
    designs(), st.sampled_from([Routing(0.3, 2, 3), Routing(0.75, 2, 3), Sprint(0.75, 2, 3, 0.5), Sprint(0, 2, 3, 0)])
)
def test_any_design_can_be_routed(switches: dict[str, Any], routing: Routing) -> None:
    model = routed(routing, **switches)
    output, _, internal, _ = trained_on(model, inputs(), seeded(0))
    (output.square().sum() + (0 if internal is None else internal.sum())).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    with counted_flops() as counter, torch.no_grad():
        trained_on(model, inputs(samples=1), seeded(0))
    assert forward_flops(model, 3, 4, 5, channels=4, text_dim=8) == counter.get_total_flops()


def test_blocks_within_see_nothing_of_what_skips() -> None:
    model = routed(Routing(0.99, 2, 3))
    output = model(*inputs(samples=1), generator=seeded(0), hidden_after=[1, 3])
    stays = (output.hidden[1] != output.hidden[3]).any(dim=-1)[0]
    assert stays.sum() == 1
    assert torch.equal(output.computed[3][0], stays)
    assert 1 not in output.computed, "all tokens go through the block before"
    model.blocks[0].register_forward_hook(
        lambda _module, _args, x: torch.cat([torch.where(stays[:, None], x[:, :12], 7.0), x[:, 12:]], dim=1)
    )
    changed = model(*inputs(samples=1), generator=seeded(0), hidden_after=[3])
    torch.testing.assert_close(changed.hidden[3][:, stays], output.hidden[3][:, stays])
    assert (changed.hidden[3][:, ~stays] == 7).all()


def test_the_weaker_way_is_that_of_the_latents_lowest_in_order() -> None:
    model = routed()
    order = torch.linspace(0, 1, 12).flip(0).repeat(2, 1)
    seen: list[Tensor] = []
    model.blocks[1].register_forward_hook(lambda _module, args, _output: seen.append(args[0]))
    output = model(*inputs(), weaker=WeakerWay(0.25, order), hidden_after=[1, 3])
    assert seen[0].shape[1] == 17 - 3
    skipped = (output.hidden[1] == output.hidden[3]).all(dim=-1)
    assert skipped[:, -3:].all()
    assert not skipped[:, :-3].any()
    everywhere = model(*inputs(), weaker=WeakerWay(0.0, order))
    torch.testing.assert_close(everywhere, model(*inputs()))
