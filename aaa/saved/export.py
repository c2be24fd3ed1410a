"""The folder model/ of a finished run: what is needed to use the model, and nothing of how it was trained."""

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import nn

from aaa.saved.checkpoint import save_weights
from aaa.saved.model_card import SAMPLES
from aaa.saved.models import CONFIG, WEIGHTS, sampling_config, write_card, write_config
from aaa.saved.trained_words import write_words
from aaa.saved.whole_folders import take_place
from aaa.tracking.files import OF_A_STEP, cannot_write


def export_model(
    run: Path,
    model: nn.Module,
    config: dict[str, Any],
    metadata: dict[str, str],
    card: str,
    words: Collection[str] | None = None,
) -> None:
    """Write model/, aside first and renamed when it is whole and on disk.

    Args:
        run: the run's folder, which has the sample grids.
        model: its weights are exported.
        config: resolved, of the whole run.
        metadata: for the header of the weights.
        card: the model card.
        words: that it was trained on, if it knows no others.
    """
    final, aside = run / "model", run / ".model"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir()
        write_card(aside, card)
        if (samples := newest_samples(run)) is not None:
            shutil.copyfile(samples, aside / SAMPLES)
        write_config(aside, sampling_config(config))
        if words is not None:
            write_words(aside, words)
        save_weights(aside / WEIGHTS, model, metadata)
        take_place(aside, final)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise cannot_write(final, error) from error


def newest_samples(run: Path) -> Path | None:
    """The sample grid of the most steps, drawn with the averaged weights where there are any."""
    return max((run / "samples").glob(f"{OF_A_STEP}.png"), default=None)


def exported_step(run: Path) -> int | None:
    """How many steps the exported model was trained for, or None if none was exported."""
    weights = run / "model" / WEIGHTS
    if not weights.is_file() or not (run / "model" / CONFIG).is_file():
        return None
    try:
        with safe_open(weights, "pt") as file:
            return int((file.metadata() or {})["step"])
    except (SafetensorError, OSError, KeyError, ValueError):
        return None
