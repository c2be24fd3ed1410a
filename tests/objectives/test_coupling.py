"""Which noise comes with which picture, against a search through all ways."""

from itertools import permutations

import pytest
import torch
from torch import Tensor

from aaa.data.randomness import generator
from aaa.errors import UserError
from aaa.objectives.coupling import make_coupling


def latents(size: int) -> Tensor:
    return 0.5 * torch.randn(size, 2, 2, 2, generator=torch.Generator().manual_seed(5))


def test_independent_noise_is_torchs_own_to_the_bit() -> None:
    found = make_coupling("independent", 8)(latents(4), generator("noise"))
    assert torch.equal(found, torch.randn(4, 2, 2, 2, generator=generator("noise")))


@pytest.mark.parametrize("key", ["a", "b", "c"])
def test_immiscible_noise_is_the_same_dealt_out_at_the_least_distance(key: str) -> None:
    clean = latents(5)
    noise = torch.randn(5, 2, 2, 2, generator=generator(key))

    def distance(way: tuple[int, ...]) -> float:
        return sum((noise[j] - clean[i]).square().sum().item() for i, j in enumerate(way))

    best = min(permutations(range(5)), key=distance)
    assert torch.equal(make_coupling("immiscible", 8)(clean, generator(key)), noise[list(best)])


def test_the_nearest_of_several_draws_is_taken() -> None:
    clean = latents(3)
    noise = torch.randn(4, 3, 2, 2, 2, generator=generator("draws"))
    found = make_coupling("nearest", 4)(clean, generator("draws"))
    for i in range(3):
        distances = [(noise[k, i] - clean[i]).norm().item() for k in range(4)]
        assert torch.equal(found[i], noise[distances.index(min(distances)), i])


@pytest.mark.parametrize("name", ["immiscible", "nearest"])
def test_coupled_noise_keeps_dtype_is_nearer_and_still_nearly_normal(name: str) -> None:
    clean = torch.randn(200, 4, 8, 8, generator=torch.Generator().manual_seed(5)).bfloat16()
    noise = make_coupling(name, 8)(clean, generator("many"))
    independent = make_coupling("independent", 8)(clean, generator("many"))
    assert noise.dtype == torch.bfloat16
    assert noise.float().std().item() == pytest.approx(1, abs=0.05)
    assert noise.float().mean().item() == pytest.approx(0, abs=0.02)
    distances = [(other - clean).float().square().mean() for other in (noise, independent)]
    assert distances[0] < distances[1] - 0.05


def test_what_is_no_coupling_is_refused() -> None:
    with pytest.raises(UserError, match=r"objective\.coupling=ot: must be one of independent, immiscible, nearest"):
        make_coupling("ot", 8)
    with pytest.raises(UserError, match=r"objective\.coupling_candidates=0: must be at least 1"):
        make_coupling("nearest", 0)
