"""Weights that a run starts from instead of random ones: `init_from`, and what has to be inherited with them."""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from aaa.encoders.statistics import LatentStatistics
from aaa.errors import UserError
from aaa.models.saved import find_saved, saved_statistics
from aaa.models.weights_file import read_dit_numbers
from aaa.training.checkpoint import load_weights

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
    file = path if path.is_file() else find_saved(path, weights="ema", trust_config=False).weights
    configured = {key: value for key, value in numbers.items() if key not in ("name", "init")}
    found = asdict(read_dit_numbers(file, numbers["heads"]))
    if other := {key: value for key, value in found.items() if value != configured[key]}:
        fitting = " ".join(f"model.{key}={value}" for key, value in other.items())
        raise UserError(f"init_from={path}: holds a model of another size. To train that one: {fitting}")
    load_weights(file, model)
    logger.info("Starting from the weights in %s", file)


def inherited_statistics(resumed: Path | None, init_from: Path | None) -> LatentStatistics | None:
    """What the weights that are taken up were trained to have latents normalised by, if their place says so."""
    place = init_from if resumed is None else resumed
    if place is None or not place.is_dir():  # a file of weights says nothing of it
        return None
    return saved_statistics(place)
