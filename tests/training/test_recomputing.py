from functools import partial

import pytest
import torch
from torch import Tensor

from aaa.models.dit import AAADiT
from aaa.models.factory import build_dit
from aaa.training.fitting import measure_footprint
from aaa.training.recomputing import recompute_activations


def make_model() -> AAADiT:
    torch.manual_seed(0)
    return build_dit(dim=32, depth=3, heads=2, in_channels=4, text_dim=8, init="torch")


def loss_of(model: AAADiT, samples: int) -> Tensor:
    draws = torch.Generator().manual_seed(0)
    latents, prompt_embeds = (torch.randn(samples, *shape, generator=draws) for shape in ((4, 8, 8), (5, 8)))
    velocity: Tensor = model(latents, prompt_embeds, torch.linspace(0, 1000, samples))
    return velocity.square().mean()


@pytest.mark.parametrize("offload", [False, True])
def test_gradients_stay_the_same_and_less_is_kept(offload: bool) -> None:
    plain, thrifty = make_model(), make_model()
    recompute_activations(thrifty, offload=offload)
    for model in (plain, thrifty):
        loss_of(model, 3).backward()
    for (name, one), other in zip(plain.named_parameters(), thrifty.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(one.grad, other.grad, msg=name)
    kept = [
        measure_footprint(partial(loss_of, model), model, torch.device("cpu")).per_sample for model in (plain, thrifty)
    ]
    assert kept[1] < kept[0] / 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_offloaded_activations_leave_the_gpu() -> None:
    peaks = []
    for offload in (False, True):
        model = make_model().to("cuda")
        recompute_activations(model, offload=offload)
        torch.cuda.reset_peak_memory_stats()
        velocity = model(*(torch.zeros(512, *shape, device="cuda") for shape in ((4, 8, 8), (5, 8), ())))
        velocity.sum().backward()
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[1] < peaks[0]
