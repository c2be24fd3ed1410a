"""Which files of weights a run has kept, and what average each of them is."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from aaa.errors import UserError
from aaa.saved.checkpoint import State, load_settings, load_state
from aaa.saved.checkpoint_folders import AVERAGE, MODEL, STATE, checkpoints, damage, step_of
from aaa.saved.models import DRAWN_WITH
from aaa.saved.named_model import RUN_CONFIG, offered_below
from aaa.tracking.environment import read_environment
from aaa.training.ema import keep_of
from aaa.training.posthoc_ema import Saved

logger = logging.getLogger(__name__)

BATCH_SIZE = "trainer.batch_size"
SHAPING = ("trainer.ema_decay", "trainer.ema_memory", BATCH_SIZE)  # settings that say what an average is
MOST_BRANCHES = 100  # of runs from runs that are followed back


class Kept(NamedTuple):
    """A file of weights that a run kept, and what it holds."""

    file: Path
    holds: Saved


def updates_of(state: State) -> int:
    """How often the weights were updated until then."""
    return state.ema_updates or state.step - state.skipped_steps


def checkpoints_of(model: Path) -> tuple[Path, dict[Path, State]]:
    """The run folder, and the states at its whole checkpoints up to the one that is meant, oldest first.

    Args:
        model: a run folder, for its newest checkpoint, or one of its checkpoints.

    Raises:
        UserError: if it is neither, or none is whole.
    """
    if (model / STATE).is_file():
        checkpoint = model.resolve()
        run = checkpoint.parent.parent
        found = [path for path in checkpoints(run) if step_of(path) <= step_of(checkpoint)]
    elif (model / RUN_CONFIG).is_file():
        run, found = model, checkpoints(model)
    else:
        raise UserError(
            f"model={model}: neither a run folder (with {RUN_CONFIG}) nor a checkpoint of one.{offered_below(model)}"
        )
    states: dict[Path, State] = {}
    for path in reversed(found):
        if (problem := damage(path, DRAWN_WITH)) is not None:
            logger.warning("%s is damaged: %s. It is left out.", path, problem)
        elif updates_of(state := load_state(path)):
            states[path] = state
    if not states:
        raise UserError(f"model={model}: there is no whole checkpoint of trained weights to average.")
    return run, states


def kept_weights(run: Path, states: Mapping[Path, State], *, of_samples: bool) -> tuple[list[Kept], int]:
    """The files of weights, oldest first, and the batch size of the steps.

    Averages that were saved are among them only if they have been of one kind from the run's first step on.

    Args:
        run: its folder.
        states: at its checkpoints, oldest first.
        of_samples: whether an average over so many samples is wanted.

    Raises:
        UserError: if that is no number of steps, or a checkpoint does not say how its weights were averaged.
    """
    settings = [_settings(checkpoint) for checkpoint in states]
    changed = {key for key in SHAPING if len({its[key] for its in settings}) > 1} | _changed_before(run) & {*SHAPING}
    decay, memory, batch_size = (settings[-1][key] for key in SHAPING)
    if BATCH_SIZE in changed and of_samples:
        raise UserError(
            f"{BATCH_SIZE} was changed on the way of {run}, so that a memory of samples is no memory of steps. Give a "
            "share of the run, such as memory=0.1."
        )
    if memory is None or memory < 1:
        changed.discard(BATCH_SIZE)  # of which what was kept at each update knows nothing
    if changed:
        logger.warning(
            "%s was changed on the way of %s, so that the averages in its checkpoints are not of one kind. They are "
            "left out: only the weights beside them are added up.",
            " and ".join(sorted(changed)),
            run,
        )
    keep = None if changed else keep_of(decay, memory, batch_size)
    kept: list[Kept] = []
    for checkpoint, state in states.items():
        updates = updates_of(state)
        kept.append(Kept(checkpoint / MODEL, Saved(updates)))
        if keep is not None and (checkpoint / AVERAGE).is_file():
            kept.append(Kept(checkpoint / AVERAGE, Saved(updates, keep)))
    return kept, batch_size


def _settings(checkpoint: Path) -> Mapping[str, Any]:
    """Those that say what an average is."""
    settings = load_settings(checkpoint)
    if settings is None:
        raise UserError(f"{checkpoint}: does not say how its weights were averaged.")
    return {key: settings.get(key) for key in SHAPING}


def _changed_before(run: Path) -> set[str]:
    """Keys that were changed as a run went on, and as those did that it has branched off from.

    Checkpoints of before may be gone, and what they averaged is still in those of after.
    """
    changed: set[str] = set()
    for _ in range(MOST_BRANCHES):
        environment = read_environment(run)
        sessions = [environment, *environment.get("earlier", [])]
        for session in sessions:
            changed |= (session.get("changed") or {}).keys()
        parents = [session.get("parent") or {} for session in sessions]
        branched = next(
            (parent["run"] for parent in parents if parent.get("how") == "repeat" and "step" in parent), None
        )
        if branched is None:
            break
        run = Path(branched)
    return changed
