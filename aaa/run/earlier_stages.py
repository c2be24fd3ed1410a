"""What the weights that a run begins from had cost: training in stages is compared by all that went into it."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from aaa.config.trust import read_yaml_config
from aaa.errors import UserError
from aaa.run.going_on import read_before
from aaa.saved.averages import AVERAGES
from aaa.saved.checkpoint_folders import CHECKPOINTS, FOLDER, STATE, step_of
from aaa.saved.named_model import EXPORTED, RUN_CONFIG
from aaa.tracking.environment import read_environment
from aaa.tracking.stages import Stage, read_stages
from aaa.tracking.tracker import METRICS, read_metrics

DIGITS = 16  # of a digest, that tell settings apart


def stages_of_run(run: Path) -> list[Stage]:
    """The stages before the run of a folder, the first first; none of one that began from random weights."""
    try:
        init_from = read_yaml_config(run / RUN_CONFIG).get("init_from")
    except UserError:
        init_from = None
    return read_stages(read_environment(run), init_from)


def stages_behind(weights: Path) -> list[Stage]:
    """The stages that have led to a file of weights, the first first; of one that lies in no run nothing is known.

    Args:
        weights: of a checkpoint, of the model/ folder of a run, or of one of its averages.
    """
    for file in dict.fromkeys((weights.absolute(), weights.resolve())):  # a link is looked at from both its ends
        run = _run_of(file.parent)
        if run is not None and (run / RUN_CONFIG).is_file() and (stage := _stage(run, file)) is not None:
            return [*stages_of_run(run), stage]
    return [Stage(str(weights.absolute()))]


def _run_of(folder: Path) -> Path | None:
    """The folder of the run that a folder of weights is part of, by where it lies."""
    if folder.name == EXPORTED:
        return folder.parent
    return folder.parent.parent if folder.parent.name in (CHECKPOINTS, AVERAGES) else None


def _stage(run: Path, file: Path) -> Stage | None:
    """What a run had cost at the step of a file of its weights; None if the file does not say of which step it is."""
    step = step_of(file.parent) if FOLDER.fullmatch(file.parent.name) else _step_in_header(file)
    if step is None:
        return None
    checkpoint = run / CHECKPOINTS / f"step-{step:08d}"
    if (checkpoint / STATE).is_file():
        try:
            before = read_before(checkpoint)
        except UserError:  # what was damaged may stand in the metrics too
            pass
        else:
            seconds, setting = round(before.state.seconds, 3), _digest(before.settings)
            return Stage(str(run), step, before.samples, before.flops, seconds, setting)
    measured: dict[str, Any] = {}
    for row in read_metrics(run / METRICS):  # a finished run may have lost its checkpoints
        measured |= row if row["step"] == step else {}
    return Stage(str(run), step, *(measured.get(name) for name in ("samples", "flops", "seconds")))


def _digest(settings: Mapping[str, Any]) -> str:
    """Equal for runs that differ in their seed alone; what one began from is a stage of its own."""
    told = {key: value for key, value in settings.items() if key not in ("seed", "init_from")}
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:DIGITS]


def _step_in_header(file: Path) -> int | None:
    try:
        with safe_open(file, "pt") as opened:
            return int((opened.metadata() or {})["step"])
    except (SafetensorError, OSError, KeyError, ValueError):
        return None
