"""Small DiTs of any design."""

from functools import partial
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from aaa.models.design import CHOICES
from aaa.models.dit import AAADiT
from aaa.models.factory import build_dit
from aaa.models.forward import ModelOutput, with_hidden

# Each switch by itself, then some together.
SWITCHES: dict[str, dict[str, Any]] = {
    "tutorial": {},
    "rope": {"positions": "rope"},
    "text_positions": {"text_positions": "rope"},
    "qk_norm": {"qk_norm": True},
    "relu2": {"mlp": "relu2"},
    "swiglu": {"mlp": "swiglu"},
    "adaln": {"modulation": "adaln"},
    "adaln_shared": {"modulation": "adaln_shared"},
    "no modulation": {"modulation": "none"},
    "value_residual": {"value_residual": True},
    "text_refiner": {"text_refiner": 2},
    "registers": {"registers": 3},
    "patch_bottleneck": {"patch_bottleneck": 5},
    "mask_padding": {"mask_padding": True},
    "mmdit": {"joint": "mmdit"},
    "cross": {"joint": "cross"},
    "pooled_prompt": {"pooled_prompt": True},
    "internal_head": {"internal_head": 2},
    "many": {"joint": "mmdit", "positions": "rope", "qk_norm": True, "modulation": "adaln", "value_residual": True},
    "many with cross": {
        "joint": "cross",
        "positions": "rope",
        "text_positions": "rope",
        "qk_norm": True,
        "value_residual": True,
        "registers": 2,
        "mask_padding": True,
    },
}


def designs() -> st.SearchStrategy[dict[str, Any]]:
    """Any combination of switches."""
    choices: dict[str, st.SearchStrategy[Any]] = {key: st.sampled_from(options) for key, options in CHOICES.items()}
    counts = {"text_refiner": st.integers(0, 2), "registers": st.integers(0, 2)}
    truths = {key: st.booleans() for key in ("qk_norm", "value_residual", "mask_padding")}
    pooled = {"pooled_prompt": st.sampled_from([None, True])}
    numbers = {"patch_bottleneck": st.none() | st.integers(1, 3), "internal_head": st.none() | st.integers(1, 2)}
    return st.fixed_dictionaries(choices | counts | truths | pooled | numbers)


def small(init: str = "torch", depth: int = 3, **switches: Any) -> AAADiT:
    """16 wide, 2 heads, with weights that depend on the switches alone."""
    torch.manual_seed(0)
    return build_dit(16, depth, 2, in_channels=4, text_dim=8, position_grid=4, init=init, **switches)


def trained_on(model: AAADiT, tensors: tuple[Tensor, Tensor, Tensor], generator: torch.Generator | None) -> ModelOutput:
    """All that training asks of a model, of its internal head too."""
    asked = partial(model, generator=generator)
    return with_hidden(asked, *tensors, [1], with_internal=model.internal_head is not None)


def inputs(height: int = 3, width: int = 4, samples: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, prompt_embeds of 5 tokens, timesteps."""
    draws = torch.Generator().manual_seed(1)
    latents, prompt_embeds = (torch.randn(samples, *shape, generator=draws) for shape in ((4, height, width), (5, 8)))
    prompt_embeds[-1, 3:] = 0  # padding
    return latents, prompt_embeds, torch.linspace(10, 900, samples)
