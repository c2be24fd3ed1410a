"""Weights that a run starts from instead of random ones: `init_from`."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from aaa.errors import UserError
from aaa.models.dit import AAADiT
from aaa.saved.checkpoint import load_weights
from aaa.saved.models import find_saved
from aaa.saved.weights_file import other_numbers, read_routing
from aaa.tracking.printed import setting

logger = logging.getLogger(__name__)


def start_from(path: Path, model: nn.Module, numbers: Mapping[str, Any]) -> None:
    """Load the weights that `init_from` names.

    Args:
        path: a .safetensors file, a run, a checkpoint or a model/ folder.
        model: takes the weights.
        numbers: of the configured model.

    Raises:
        UserError: if they are those of a model of another size.
    """
    # Nothing that its config names is run for its weights.
    try:
        file = path if path.is_file() else find_saved(path, weights="ema", trust_config=True).weights
    except UserError as error:
        raise UserError(str(error).replace("model=", "init_from=", 1)) from None
    if other := other_numbers(file, numbers):
        fitting = " ".join(_asked_for(key, value) for key, value in other.items())
        raise UserError(f"init_from={path}: holds a model of another size. To train that one: {fitting}")
    if isinstance(model, AAADiT):
        _require_same_fusion(path, read_routing(file) is not None, model.fusion is not None)
    load_weights(file, model)
    logger.info("Starting from the weights in %s", file)


def _asked_for(number: str, value: Any) -> str:
    """How a model with this number is asked for."""
    if number == "internal_head" and value is not None:  # it follows from the term that trains it
        return f"objective.terms.internal.weight=0.25 objective.terms.internal.after_block={value}"
    return setting(f"model.{number}", value)


def _require_same_fusion(path: Path, there: bool, here: bool) -> None:
    """Refuse weights with a fusion that the model has no place for, or without one that it needs."""
    if there and not here:
        raise UserError(
            f"init_from={path}: the fusion of routing=sprint is part of this model. To train it: routing=sprint"
        )
    if here and not there:
        raise UserError(
            f"init_from={path}: this model has no fusion, which routing=sprint needs. There is routing=tread."
        )
