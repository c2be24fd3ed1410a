"""What the weights that a run begins from had cost: training in stages is compared by all that went into it."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from safetensors import SafetensorError

from aaa.config.trust import read_yaml_config
from aaa.errors import UserError
from aaa.run.going_on import read_before, taken_for_granted
from aaa.run.shaping import shaping_settings
from aaa.saved.averages import AVERAGES
from aaa.saved.checkpoint_folders import AVERAGE, CHECKPOINTS, FOLDER, MODEL, STATE, step_of
from aaa.saved.named_model import EXPORTED, RUN_CONFIG
from aaa.saved.weights_file import metadata_of
from aaa.tracking.environment import read_environment
from aaa.tracking.recorded_overrides import own_overrides
from aaa.tracking.stages import Stage, read_stages
from aaa.tracking.tracker import METRICS, read_metrics

DIGITS = 16  # of a digest, that tell kinds of stages apart
# Weights of a run: as they were trained, where there is an average too; else what it exports.
RAW, USUAL = "raw", "usual"
OF_LENGTH = ("trainer=", "trainer.max_steps=", "budget.")  # words of a command that say how long a run is


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
    checkpoint, weights = run / CHECKPOINTS / f"step-{step:08d}", _weights(file)
    if (checkpoint / STATE).is_file():
        try:
            before = read_before(checkpoint)
        except UserError:  # what was damaged may stand in the metrics too
            pass
        else:
            seconds, costs = round(before.state.seconds, 3), (step, before.samples, before.flops)
            return Stage(str(run), *costs, seconds, _kind(run, before.settings, weights, costs))
    measured: dict[str, Any] = {}
    for row in read_metrics(run / METRICS):  # a finished run may have lost its checkpoints
        measured |= row if row["step"] == step else {}
    known = (step, measured.get("samples"), measured.get("flops"))
    return Stage(str(run), *known, measured.get("seconds"), _kind(run, _settings(run), weights, known))


def _weights(file: Path) -> str:
    """Which of a run's weights these are, as far as that is not said by their step."""
    if file.parent.parent.name == AVERAGES:
        return file.parent.name
    is_raw = FOLDER.fullmatch(file.parent.name) and file.name == MODEL and (file.parent / AVERAGE).is_file()
    return RAW if is_raw else USUAL


def _settings(run: Path) -> Mapping[str, Any] | None:
    """What a run without checkpoints was trained with, as its config says it; None if that is damaged."""
    try:
        config = read_yaml_config(run / RUN_CONFIG)
    except UserError:
        return None
    return taken_for_granted() | shaping_settings(OmegaConf.to_container(config, resolve=False))


def _kind(run: Path, settings: Mapping[str, Any] | None, weights: str, costs: tuple[Any, ...]) -> str | None:
    """Equal for stages that differ in their seed alone; None where one did not go all its way with one setting.

    What one began from is a stage of its own. One that has filled its seconds has as many steps as fitted.
    """
    if settings is None or _went_on_otherwise(run):
        return None
    apart = {"seed", "init_from"}
    if settings.get("budget.seconds") and settings.get("trainer.max_steps") == costs[0]:
        apart, costs = apart | {"trainer.max_steps"}, ()
    told = {key: value for key, value in settings.items() if key not in apart}
    said = json.dumps([told, weights, costs], sort_keys=True, default=str)
    return hashlib.sha256(said.encode()).hexdigest()[:DIGITS]


def _went_on_otherwise(run: Path) -> bool:
    """Whether a run has branched off another, or was resumed with other settings or to another length.

    Its last settings do not say what came of those before.
    """
    environment = read_environment(run)
    earlier = environment.get("earlier")
    sessions = [*(earlier if isinstance(earlier, list) else []), environment]
    lengths = []
    for session in sessions:
        if not isinstance(session, dict):
            return True
        parent, command = session.get("parent"), session.get("command")
        if session.get("changed") or (isinstance(parent, dict) and parent.get("how") == "repeat" and "step" in parent):
            return True
        words = own_overrides(map(str, command)) if isinstance(command, list) else []
        lengths.append([word for word in words if word.lstrip("+").startswith(OF_LENGTH)])
    return any(told and told != lengths[0] for told in lengths[1:])


def _step_in_header(file: Path) -> int | None:
    try:
        return int(metadata_of(file)["step"])
    except (SafetensorError, OSError, KeyError, ValueError):
        return None
