import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from aaa.models.dit import AAADiT
from aaa.models.factory import build_dit
from aaa.models.parametrization import Growth, growths, scale_initial_values

# Four times as wide and three times as deep as the base: the rate of AdamW, that of Muon and the initial standard
# deviation over those at the base, from the tables of 2203.03466 and 2505.01618, and spectral norms by hand: Muon's
# steps are sqrt(longest side) long, and are to be sqrt(fan_out / fan_in) long.
BY_HAND = {
    "pos_embedder.image_emb": (1, None, 1),
    "pos_embedder.text_emb": (1, None, 1),
    "timestep_embedder.timestep_embedder.0.weight": (1, None, 1),
    "timestep_embedder.timestep_embedder.2.weight": (1 / 4, None, 1 / 2),
    "image_embedder.0.weight": (1, None, 1),
    "image_embedder.1.weight": (1, None, 1),
    "text_embedder.0.bias": (1, None, 1),
    "blocks.5.to_q.weight": (1 / 4, 1 / 2, 1 / 2),
    "blocks.5.to_q.bias": (1, None, None),
    "blocks.0.to_gate.weight": (1 / 4, 1 / 2, 1 / 2),
    "blocks.0.ff.0.weight": (1 / 4, 1 / 2, 1 / 2),
    "blocks.0.ff.2.weight": (1 / 12, 1 / 6, 1 / 6),
    "blocks.0.to_out.weight": (1 / 12, 1 / 6, 1 / 6),
    "blocks.0.to_out.bias": (1 / 3, None, None),
    "proj_out.weight": (1 / 4, None, 1 / 4),
    "proj_out.bias": (1, None, None),
}


def dit(dim: int, depth: int, *, init: str = "scaled") -> AAADiT:
    return build_dit(dim, depth, dim // 16, in_channels=12, text_dim=24, position_grid=4, init=init)


def grown(dim: int, depth: int, base_dim: int = 32, base_depth: int = 2) -> tuple[AAADiT, dict[str, Growth]]:
    model = dit(dim, depth)
    with torch.device("meta"):
        base = dit(base_dim, depth, init="torch")
    return model, growths(model, base, depth / base_depth)


def test_factors_are_those_of_the_tables() -> None:
    _, found = grown(128, 6)
    for name, (adamw, muon, std) in BY_HAND.items():
        assert found[name].adamw == pytest.approx(adamw), name
        assert muon is None or found[name].muon == pytest.approx(muon), name
        assert std is None or found[name].std == pytest.approx(std), name
    assert found["image_embedder.0.weight"].kind == "input"
    assert found["proj_out.weight"].kind == "output"
    assert found["blocks.1.ff.0.weight"].kind == "hidden"


def test_at_the_base_everything_is_one() -> None:
    model, found = grown(32, 2)
    for growth in found.values():
        assert (growth.adamw, growth.muon, growth.std, growth.std_of_scaled) == (1, 1, 1, 1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    scale_initial_values(model, found)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_blocks_that_refine_the_prompt_are_as_deep_at_every_size() -> None:
    with torch.device("meta"):
        model, base = (
            build_dit(dim, 4, dim // 16, 12, 24, text_refiner=2, joint="mmdit", patch_bottleneck=4, registers=3)
            for dim in (64, 32)
        )
    found = growths(model, base, 2.0)
    assert found["text_refiner.blocks.0.to_out.weight"].adamw == 1 / 2
    assert found["blocks.0.text.to_out.weight"].adamw == 1 / 4
    assert found["blocks.3.to_out.weight"].adamw == 1 / 4  # the last has one stream
    assert found["image_embedder.0.weight"].kind == "fixed"
    assert found["registers"] == Growth()


def test_making_the_base_draws_no_numbers() -> None:
    before = torch.get_rng_state()
    with torch.device("meta"):
        dit(32, 2, init="torch")
    assert torch.equal(torch.get_rng_state(), before)


def test_initial_values_get_the_deviation_that_the_table_says() -> None:
    torch.manual_seed(0)
    model, found = grown(256, 8, base_dim=64)
    scale_initial_values(model, found)
    base = dict(dit(64, 2).named_parameters())
    for name in ("image_embedder.0.weight", "blocks.1.to_q.weight", "blocks.1.ff.2.weight", "blocks.0.to_out.weight"):
        ratio = model.get_parameter(name).std() / base[name].std()
        assert ratio.item() == pytest.approx(found[name].std, rel=0.05), name


SIZES = st.tuples(st.sampled_from([32, 64, 96, 128]), st.integers(1, 6))


@settings(max_examples=10, deadline=None)
@given(small=SIZES, middle=SIZES, large=SIZES)
def test_to_grow_twice_is_to_grow_by_both(
    small: tuple[int, int], middle: tuple[int, int], large: tuple[int, int]
) -> None:
    def factors(size: tuple[int, int], base: tuple[int, int]) -> dict[str, tuple[float, ...]]:
        with torch.device("meta"):
            _, found = grown(*size, *base)
        return {name: (growth.adamw, growth.muon, growth.std) for name, growth in found.items()}

    whole, first, second = factors(large, small), factors(middle, small), factors(large, middle)
    for name in first.keys() & second.keys() & whole.keys():
        kept = [a * b for a, b in zip(first[name], second[name], strict=True)]
        assert kept == pytest.approx(whole[name]), name


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at the base it has other parameters: 1\.bias"):
        growths(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 2)), 1.0)
    plain = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="do not say which of their layers write to the residual stream"):
        growths(plain, plain, 2.0)
    assert growths(plain, plain, 1.0)["0.weight"].kind == "fixed"
