"""Which settings of a run shape its weights, and which of them are different now."""

import re
from collections.abc import Mapping
from typing import Any

from aaa.config.leaves import leaves

# What shapes the weights, as prefixes of dotted keys ...
SHAPING = (
    *(
        "seed",
        "init_from",
        "model.",
        "data.",
        "encoder.",
        "scheduler.",
        "objective.",
        "routing.",
        "optimizer.",
        "lr_scheduler.",
        "validation.",
    ),
    *("budget.", "trainer.max_steps", "trainer.batch_size", "trainer.gradient_accumulation_steps", "trainer.precision"),
    *(
        "trainer.max_grad_norm",
        "trainer.ema_",
        "trainer.base_batch_size",
        "trainer.prompt_dropout",
        "trainer.trim_prompts",
    ),
    *("trainer.on_nonfinite", "processes"),
)
# ... and what of that does not.
SHAPELESS = (
    *("model.name", "model.init", "data.name", "data.cache_dir", "data.skip_unreadable", "data.license"),
    *("data.attribution", "encoder.name", "encoder.batch_size", "encoder.vae.latent_"),
)
# Told apart by their own messages.
EXPECTED = ("trainer.max_steps", "budget.")


def shaping_settings(resolved: Any, **more: Any) -> dict[str, Any]:
    """What of a resolved config shapes the weights, by dotted key."""
    return {
        k: v
        for k, v in (dict(leaves(resolved)) | more).items()
        if k.startswith(SHAPING) and not alone(k).startswith(SHAPELESS)
    }


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Settings that both know and that are not the same, with their values before and now."""
    return {
        key: (before[key], value)
        for key, value in now.items()
        if key in before and before[key] != value and not key.startswith(EXPECTED)
    }


def describe_changes(changed: Mapping[str, tuple[Any, Any]]) -> str:
    """`optimizer.learning_rate 0.005 -> 0.001; seed 0 -> 1`."""
    return "; ".join(f"{key} {old} -> {new}" for key, (old, new) in changed.items())


def alone(key: str) -> str:
    """What a key of a part of data=mixture is called where that data is alone."""
    return re.sub(r"^data\.parts\.[^.]+\.", "data.", key)
