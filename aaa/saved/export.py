"""The folder model/ of a finished run: what is needed to use the model, and nothing of how it was trained."""

import json
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from aaa.saved.checkpoint import save_weights
from aaa.saved.checkpoint_folders import MODEL
from aaa.saved.model_card import CARD, SAMPLES
from aaa.saved.models import sampling_config
from aaa.saved.named_model import CONFIG, EXPORTED
from aaa.saved.whole_folders import written_whole
from aaa.saved.words_file import write_words
from aaa.tracking.files import OF_A_STEP, step_in_name


def export_model(
    run: Path,
    model: nn.Module,
    config: dict[str, Any],
    metadata: dict[str, str],
    card: str,
    samples: Path | None,
    words: Collection[str] | None = None,
) -> None:
    """Write model/, aside first and renamed when it is whole and on disk.

    Args:
        run: the run's folder.
        model: its weights are exported.
        config: resolved, of the whole run.
        metadata: for the header of the weights.
        card: the model card.
        samples: the grid that it shows, if any.
        words: that it was trained on, if it knows no others.
    """
    with written_whole(run / EXPORTED) as aside:
        write_card(aside, card)
        if samples is not None:
            shutil.copyfile(samples, aside / SAMPLES)
        write_config(aside, sampling_config(config))
        if words is not None:
            write_words(aside, words)
        save_weights(aside / MODEL, model, metadata)


def write_card(folder: Path, card: str) -> None:
    """Write the model card, README.md."""
    (folder / CARD).write_text(card, encoding="utf-8")


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write config.json."""
    (folder / CONFIG).write_text(json.dumps(config, indent=2), encoding="utf-8")


def newest_samples(run: Path, up_to_step: int) -> Path | None:
    """The sample grid of the most steps, drawn with the averaged weights where there are any.

    Args:
        run: its folder.
        up_to_step: that the run is at; grids of later ones are of steps that were lost.
    """
    grids = (run / "samples").glob(f"{OF_A_STEP}.png")
    return max((grid for grid in grids if step_in_name(grid) <= up_to_step), default=None)
