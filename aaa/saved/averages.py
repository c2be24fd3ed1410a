"""Averages of a run's weights of any memory, made afterwards from the checkpoints that it kept."""

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from torch import Tensor

from aaa.data.tensor_files import save_tensors
from aaa.errors import UserError
from aaa.saved.checkpoint import State, load_settings, load_state
from aaa.saved.checkpoint_folders import AVERAGE, MODEL, STATE, checkpoints, damage, step_of
from aaa.saved.export import write_config
from aaa.saved.models import DRAWN_WITH, WEIGHTS, find_saved
from aaa.saved.named_model import EXPORTED, RUN_CONFIG, offered_below
from aaa.saved.trained_words import read_words, write_words
from aaa.saved.weights_file import read_dit_tensors
from aaa.saved.whole_folders import take_place
from aaa.tracking.files import cannot_write
from aaa.training.ema import Keep, keep_of
from aaa.training.posthoc_ema import Saved, fits

logger = logging.getLogger(__name__)

AVERAGES = "averages"  # of a run folder, where those that were made lie
SHAPING = ("trainer.ema_decay", "trainer.ema_memory", "trainer.batch_size")  # settings that say what an average is
EVEN = 0.5  # the share of a run over which an average weighs all steps the same
NEGLIGIBLE = 1e-6  # share of the sum that a file may have and not be read
FAR = 0.5  # error of a profile from which the average is another one
ADVICE = "Make room there, or see to the permissions of the folder"


class Kept(NamedTuple):
    """A file of weights that a run kept, and what it holds."""

    file: Path
    holds: Saved


class Averaged(NamedTuple):
    """An average that was made.

    Attributes:
        memory: of it, as `trainer.ema_memory` has it.
        error: of its profile, from 0.
        files: that have a share in it.
        folder: where it lies, a folder like a run's model/.
    """

    memory: float
    error: float
    files: int
    folder: Path


def make_averages(model: Path, memories: Sequence[float], report: Callable[[int, int], None]) -> list[Averaged]:
    """Make averages of the weights up to a checkpoint, in `averages/` of its run.

    Args:
        model: a run folder, for its newest checkpoint, or one of its checkpoints.
        memories: of the averages, each a share of the run below 1, or samples.
        report: is told how many files have been read, and of how many.

    Raises:
        UserError: if that is neither, too few checkpoints are left, or what was averaged changed on the way.
    """
    run, up_to = _run_and_checkpoints(model)
    kept, settings, state = _kept(up_to)
    for memory in memories:
        _require_memory(memory, settings["trainer.batch_size"])
    wanted = [Saved(updates_of(state), keep_of(None, memory, settings["trainer.batch_size"])) for memory in memories]
    found = fits([file.holds for file in kept], wanted)
    for memory, fit in zip(memories, found, strict=True):
        if fit.error > FAR:
            raise UserError(
                f"memory={memory:g}: cannot be told from the {len(up_to)} checkpoints that {run} has kept up to step "
                f"{state.step} (what would come out is off by {fit.error:.0%}). checkpoint.keep_every_steps=N keeps "
                "more of a run; memories near to the run's own need fewest."
            )
    needed = [
        [(k.file, factor) for k, factor in zip(kept, fit.factors, strict=True) if abs(factor) > NEGLIGIBLE]
        for fit in found
    ]
    total, done, made = sum(map(len, needed)), 0, []
    config = find_saved(up_to[0], "ema", trust_config=True).config
    words = read_words(run / EXPORTED)
    metadata = _metadata(kept[-1].file)
    for memory, fit, files in zip(memories, found, needed, strict=True):
        weights: dict[str, Tensor] = {}
        for file, factor in files:
            _add(weights, read_dit_tensors(file), factor)
            done += 1
            report(done, total)
        folder = run / AVERAGES / _name(memory, state.step, newest=up_to[0] == checkpoints(run)[0])
        _write(folder, weights, metadata | {"ema_memory": f"{memory:g}"}, config, words)
        made.append(Averaged(memory, fit.error, len(files), folder))
    return made


def _require_memory(memory: float, batch_size: int) -> None:
    """Refuse one that is neither a share of a run nor samples of a step."""
    if not (0 < memory <= EVEN or memory >= batch_size):
        raise UserError(
            f"memory={memory:g}: must be a share of the run, above 0 and at most {EVEN}, or at least "
            f"{batch_size} samples, one step of the run."
        )


def updates_of(state: State) -> int:
    """How often the weights were updated until then."""
    return state.ema_updates or state.step - state.skipped_steps


def _run_and_checkpoints(model: Path) -> tuple[Path, list[Path]]:
    """The run folder, and its whole checkpoints, newest first, up to the one that is meant."""
    if (model / STATE).is_file():
        run = model.absolute().parent.parent
        found = [path for path in checkpoints(run) if step_of(path) <= step_of(model.absolute())]
    elif (model / RUN_CONFIG).is_file():
        run, found = model, checkpoints(model)
    else:
        raise UserError(
            f"model={model}: neither a run folder (with {RUN_CONFIG}) nor a checkpoint of one.{offered_below(model)}"
        )
    whole = []
    for path in found:
        if (problem := damage(path, DRAWN_WITH)) is None:
            whole.append(path)
        else:
            logger.warning("%s is damaged: %s. It is left out.", path, problem)
    whole = [path for path in whole if updates_of(load_state(path))]
    if not whole:
        raise UserError(f"model={model}: there is no whole checkpoint of trained weights to average.")
    return run, whole


def _kept(up_to: Sequence[Path]) -> tuple[list[Kept], Mapping[str, Any], State]:
    """The files of weights, oldest first; what says how they were averaged; and the state after the last."""
    oldest_first = up_to[::-1]
    shaping = _shaping(oldest_first)
    keep = _keep(shaping)
    kept: list[Kept] = []
    for checkpoint in oldest_first:
        state = load_state(checkpoint)
        kept.append(Kept(checkpoint / MODEL, Saved(updates_of(state))))
        if (checkpoint / AVERAGE).is_file():
            kept.append(Kept(checkpoint / AVERAGE, Saved(updates_of(state), keep)))
    return kept, shaping, state


def _shaping(oldest_first: Sequence[Path]) -> Mapping[str, Any]:
    """The settings that say what an average is, which all of these checkpoints have to have."""
    shaping: dict[str, Any] | None = None
    for checkpoint in oldest_first:
        settings = load_settings(checkpoint)
        if settings is None:
            raise UserError(f"{checkpoint}: does not say how its weights were averaged.")
        its = {key: settings.get(key) for key in SHAPING}
        shaping = shaping or its
        for key in SHAPING:
            if its[key] != shaping[key]:
                raise UserError(
                    f"{checkpoint}: {key} is {its[key]} here and was {shaping[key]} before, so that averages of both "
                    "sides are not of one kind."
                )
    assert shaping is not None
    return shaping


def _keep(shaping: Mapping[str, Any]) -> Keep | None:
    decay, memory, batch_size = (shaping[key] for key in SHAPING)
    return keep_of(decay, memory, batch_size)


def _metadata(file: Path) -> dict[str, str]:
    with safe_open(file, "pt") as opened:
        return dict(opened.metadata() or {})


def _add(weights: dict[str, Tensor], tensors: Mapping[str, Tensor], factor: float) -> None:
    """Add so much of a file's tensors; what is no number with a fraction is that of the last file."""
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            weights[name] = tensor
        elif name in weights:
            weights[name].add_(tensor.float(), alpha=factor)
        else:
            weights[name] = tensor.float() * factor


def _name(memory: float, step: int, *, newest: bool) -> str:
    return f"memory-{memory:g}" + ("" if newest else f"-step-{step:08d}")


def _write(
    folder: Path,
    weights: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    config: Mapping[str, Any],
    words: frozenset[str] | None,
) -> None:
    """Write a folder like a run's model/, aside first and renamed when it is whole and on disk."""
    aside = folder.with_name(f".{folder.name}")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        write_config(aside, config)
        if words is not None:
            write_words(aside, words)
        save_tensors(dict(weights), aside / WEIGHTS, metadata)
        take_place(aside, folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise cannot_write(folder, error, ADVICE) from error
