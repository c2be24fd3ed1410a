"""What SPRINT drops, fills up and fuses, beside models that compute it otherwise."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from aaa.errors import UserError
from aaa.models.dit import AAADiT
from aaa.models.forward import WeakerWay
from aaa.models.parameters import matrices
from aaa.models.parametrization import growths
from aaa.models.sprint import Sprint
from aaa.run.starting_weights import start_from
from aaa.saved.checkpoint import load_weights, save_weights
from aaa.saved.weights_file import DiTNumbers, read_routing
from tests.helpers.designs import inputs, small
from tests.helpers.weights_metadata import model_header

LATENTS, OTHERS = 12, 5
ANY = WeakerWay(0.5, torch.rand(2, LATENTS))


def sprint(rate: float = 0.75, path_drop: float = 0.0, init: str = "torch") -> AAADiT:
    """Blocks 2 and 3 of 4 are sparse."""
    return small(init, depth=4, routing=Sprint(rate, 2, 3, path_drop))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fuse_by(model: AAADiT, early: float, deep: float) -> None:
    """Let the fusion be this sum of both ways."""
    assert model.fusion is not None
    identity = torch.eye(16)
    model.fusion.project.weight.data = torch.cat([early * identity, deep * identity], dim=1)
    model.fusion.project.bias.data.zero_()


def test_nothing_is_dropped_when_sampling_and_the_fusion_stays() -> None:
    model, plain = sprint(), small(depth=4)
    fuse_by(model, 0, 1)
    assert torch.equal(model(*inputs()), plain(*inputs()))
    fuse_by(model, 0, 0.5)
    assert not torch.allclose(model(*inputs()), plain(*inputs()))


def test_the_weaker_way_is_the_model_without_its_sparse_blocks() -> None:
    model, shallow = sprint(), small(depth=4)
    fuse_by(model, 1, 0)
    del shallow.blocks[1:3]
    assert torch.equal(model(*inputs(), weaker=ANY), shallow(*inputs()))


def test_dropped_places_hold_the_mask_token_and_others_what_the_blocks_made() -> None:
    model = sprint()
    assert model.fusion is not None
    tokens: list[tuple[Tensor, Tensor]] = []
    for block in model.blocks:
        block.register_forward_hook(lambda _module, args, output: tokens.append((args[0], output)))
    model(*inputs(samples=1), generator=seeded(0))
    (_, early), (taken, _), (_, made), (fused, _) = tokens
    assert [len(part[0]) for part in (early, taken, made, fused)] == [17, 3 + OTHERS, 3 + OTHERS, 17]
    weight, bias = model.fusion.project.weight, model.fusion.project.bias
    stayed = {int((early[0] == token).all(dim=-1).nonzero()): place for place, token in enumerate(taken[0, :3])}
    assert len(stayed) == 3
    for place in range(LATENTS):
        deep = made[0, stayed[place]] if place in stayed else model.fusion.mask_token
        torch.testing.assert_close(fused[0, place], weight[:, :16] @ early[0, place] + weight[:, 16:] @ deep + bias)
    assert torch.equal(fused[:, LATENTS:], made[:, 3:])


def test_samples_whose_path_is_dropped_go_the_weaker_way() -> None:
    whole, dropped = sprint(), sprint(path_drop=1.0)
    torch.testing.assert_close(dropped(*inputs(), generator=seeded(0)), whole(*inputs(), weaker=ANY))
    some = sprint(rate=0.0, path_drop=0.5)
    tensors = inputs(samples=64)
    drawn = some(*tensors, generator=seeded(3))
    ways = some(*tensors), some(*tensors, weaker=ANY)
    strong, weak = ((drawn - way).abs().amax(dim=(1, 2, 3)) < 1e-4 for way in ways)
    assert (strong ^ weak).all()
    assert 16 <= int(weak.sum()) <= 48
    assert torch.equal(drawn, some(*tensors, generator=seeded(3)))


def test_it_starts_as_the_mean_of_both_ways_and_all_of_it_learns() -> None:
    model = sprint(init="scaled")
    seen: list[tuple[Tensor, Tensor]] = []
    for block in model.blocks:
        block.register_forward_hook(lambda _module, args, output: seen.append((args[0], output)))
    assert model(*inputs()).abs().max() == 0
    early, deep, fused = seen[1][0], seen[2][1], seen[3][0]
    torch.testing.assert_close(fused[:, :LATENTS], ((early + deep) / 2)[:, :LATENTS])
    torch.nn.init.normal_(model.proj_out.weight)
    model(*inputs(), generator=seeded(0)).square().sum().backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max()]
    assert not [name for name in still if name.startswith(("fusion", "blocks.1.ff", "blocks.2.ff"))]


def test_its_weights_grow_as_those_of_the_stream() -> None:
    def of(dim: int) -> AAADiT:
        return AAADiT(dim, 4, 2, in_channels=4, text_dim=8, position_grid=4, routing=Sprint(0.75, 2, 3, 0.1))

    grown = growths(of(32), of(16), 1.0)
    project = grown["fusion.project.weight"]
    assert (project.kind, project.fan_in, project.fan_out, project.std_of_scaled) == ("hidden", 2, 2, 1)
    assert grown["fusion.mask_token"].kind == "vector"
    assert "fusion.project.weight" in matrices(of(16))
    assert "fusion.mask_token" not in matrices(of(16))


def test_a_file_says_how_its_model_was_routed_and_fits_no_other(tmp_path: Path) -> None:
    fused, plain = tmp_path / "sprint.safetensors", tmp_path / "plain.safetensors"
    numbers = DiTNumbers(16, 4, 2, 4, 8, 3.0, 4)
    said = '{"kind": "sprint", "rate": 0.75, "first_block": 2, "last_block": null, "path_drop": 0.1}'
    save_weights(fused, sprint(), {"model": model_header(numbers), "routing": said})
    save_weights(plain, small(depth=4), {"model": model_header(numbers)})
    routing = read_routing(fused)
    assert routing is not None
    assert (routing["kind"], routing["first_block"]) == ("sprint", 2)
    assert read_routing(plain) is None
    again = sprint(init="scaled")
    load_weights(fused, again)
    assert torch.equal(again(*inputs()), sprint()(*inputs()))
    shape = {"dim": 16, "depth": 4, "heads": 2, "in_channels": 4, "text_dim": 8, "position_grid": 4}
    with pytest.raises(UserError, match=r"init_from=.*the fusion of routing=sprint is part of this model"):
        start_from(fused, small(depth=4), shape, {})
    with pytest.raises(UserError, match=r"init_from=.*this model has no fusion"):
        start_from(plain, sprint(), shape, {})
    start_from(fused, again, shape, {})
    save_weights(fused, sprint(), {"model": model_header(numbers)})
    with pytest.raises(UserError, match="whose header does not say which blocks tokens skip"):
        read_routing(fused)
