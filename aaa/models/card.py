"""The model card: what a stranger must know of a trained model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def model_card(config: Mapping[str, Any], parameters: int, steps: int, run: Path) -> str:
    """A README.md for the model/ folder of a run.

    Args:
        config: the run's resolved config.
        parameters: of the model.
        steps: optimizer steps it was trained for.
        run: the run's folder.
    """
    model, data, encoder, trainer = (config[key] for key in ("model", "data", "encoder", "trainer"))
    return f"""---
library_name: aaa
pipeline_tag: text-to-image
---
# {config["name"]}

A text-to-image diffusion transformer trained from scratch with `aaa`.

| | |
| --- | --- |
| parameters | {parameters:,} |
| width, depth, heads | {model["dim"]}, {model["depth"]}, {model["heads"]} |
| data | {data["name"]}, {data["resolution"]} x {data["resolution"]} pixels |
| encoder | {encoder["name"]} |
| training | {steps:,} steps of {trainer["batch_size"]} pictures, {trainer["precision"]} |
| weights | {"exponential moving average" if trainer["ema_decay"] else "of the last step"} |
| run | {run.name} |

Draw a picture, in the folder above this one:

    python -m aaa.sample model={run.name}/model prompt="..."

The model has only seen its training data: what that shows, and what rights there are in it, holds for the
pictures it draws too.
"""
