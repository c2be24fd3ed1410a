"""Weights that a run starts from instead of random ones: `init_from`."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from aaa.errors import UserError
from aaa.saved.checkpoint import load_weights
from aaa.saved.models import find_saved
from aaa.saved.weights_file import other_numbers

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
        fitting = " ".join(f"model.{key}={'null' if value is None else value}" for key, value in other.items())
        raise UserError(f"init_from={path}: holds a model of another size. To train that one: {fitting}")
    load_weights(file, model)
    logger.info("Starting from the weights in %s", file)
