from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from aaa.models.dit import AAADiT
from aaa.models.factory import build_dit
from aaa.training.fitting import measure_footprint
from aaa.training.recomputing import recompute_activations

MODERN: dict[str, Any] = {"positions": "rope", "qk_norm": True, "mlp": "swiglu", "value_residual": True}
CROSS: dict[str, Any] = {"joint": "cross", "qk_norm": True, "value_residual": True, "pooled_prompt": True}
OTHERS: dict[str, Any] = {"joint": "mmdit", "value_residual": True, "text_refiner": 1, "modulation": "adaln_shared"}


def make_model(**switches: Any) -> AAADiT:
    torch.manual_seed(0)
    return build_dit(dim=32, depth=3, heads=2, in_channels=4, text_dim=8, init="torch", **switches)


def loss_of(model: AAADiT, samples: int) -> Tensor:
    draws = torch.Generator().manual_seed(0)
    latents, prompt_embeds = (torch.randn(samples, *shape, generator=draws) for shape in ((4, 8, 8), (5, 8)))
    velocity: Tensor = model(latents, prompt_embeds, torch.linspace(0, 1000, samples))
    return velocity.square().mean()


@pytest.mark.parametrize(
    ("offload", "switches"), [(False, {}), (True, {}), (False, MODERN), (False, OTHERS), (True, CROSS)]
)
def test_gradients_stay_the_same_and_less_is_kept(offload: bool, switches: dict[str, Any]) -> None:
    plain, thrifty = make_model(**switches), make_model(**switches)
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


@pytest.mark.gpu
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
