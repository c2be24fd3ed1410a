"""Averages of a run's weights of any memory, made afterwards from the checkpoints that it kept."""

from collections.abc import Callable, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, equal

from aaa.config.rates import EVEN
from aaa.data.tensor_files import save_tensors
from aaa.errors import UserError
from aaa.saved.checkpoint_folders import AVERAGE, MODEL, checkpoints
from aaa.saved.export import write_config
from aaa.saved.kept_weights import checkpoints_of, kept_weights, updates_of
from aaa.saved.models import find_saved
from aaa.saved.named_model import EXPORTED
from aaa.saved.weights_file import metadata_of, read_dit_tensors
from aaa.saved.whole_folders import written_whole
from aaa.saved.words_file import read_words, write_words
from aaa.training.ema import keep_of
from aaa.training.posthoc_ema import Saved, fits

AVERAGES = "averages"  # of a run folder, where those that were made lie
NEGLIGIBLE = 1e-6  # share of the sum that a file may have and not be read
FAR = 0.5  # error of a profile from which the average is another one
ADVICE = "Make room there, or see to the permissions of the folder"


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
    run, states = checkpoints_of(model)
    up_to, state = list(states), list(states.values())[-1]
    kept, batch_size = kept_weights(run, states, of_samples=any(memory >= 1 for memory in memories))
    for memory in memories:
        _require_memory(memory, batch_size)
    wanted = [Saved(updates_of(state), keep_of(None, memory, batch_size)) for memory in memories]
    found = fits([file.holds for file in kept], wanted)
    for memory, fit in zip(memories, found, strict=True):
        if fit.error > FAR:
            raise UserError(
                f"memory={_told(memory)}: cannot be told from the {len(up_to)} checkpoints that {run} has kept up to "
                f"step {state.step} (what would come out is off by {fit.error:.0%}). checkpoint.keep_every_steps=N "
                "keeps more of a run; memories near to the run's own need fewest."
            )
    needed = [
        [(k.file, factor) for k, factor in zip(kept, fit.factors, strict=True) if abs(factor) > NEGLIGIBLE]
        for fit in found
    ]
    total, done, made = sum(map(len, needed)), 0, []
    config = find_saved(up_to[-1], "ema", trust_config=True).config
    words = read_words(run / EXPORTED)
    metadata, as_they_are = metadata_of(kept[-1].file), _never_averaged(up_to[-1])
    of_step = "" if up_to[-1] == checkpoints(run)[0] else f"-step-{state.step:08d}"
    for memory, fit, files in zip(memories, found, needed, strict=True):
        weights: dict[str, Tensor] = {}
        for file, factor in files:
            _add(weights, read_dit_tensors(file), factor)
            done += 1
            report(done, total)
        folder = run / AVERAGES / f"memory-{_told(memory)}{of_step}"
        with written_whole(folder, ADVICE, parents=True) as aside:
            write_config(aside, config)
            if words is not None:
                write_words(aside, words)
            save_tensors(weights | as_they_are, aside / MODEL, metadata | {"ema_memory": _told(memory)})
        made.append(Averaged(memory, fit.error, len(files), folder))
    return made


def _told(memory: float) -> str:
    return str(int(memory)) if memory.is_integer() else str(memory)


def _require_memory(memory: float, batch_size: int) -> None:
    """Refuse one that is neither a share of a run nor samples of a step."""
    if not (0 < memory <= EVEN or batch_size <= memory < inf):
        raise UserError(
            f"memory={memory:g}: must be a share of the run, above 0 and at most {EVEN}, or at least "
            f"{batch_size} samples, one step of the run."
        )


def _never_averaged(checkpoint: Path) -> dict[str, Tensor]:
    """What no average has: numbers without a fraction, and what is the same in weights and average, as buffers are."""
    weights = read_dit_tensors(checkpoint / MODEL)
    average = read_dit_tensors(checkpoint / AVERAGE) if (checkpoint / AVERAGE).is_file() else {}
    return {
        name: tensor
        for name, tensor in weights.items()
        if not tensor.is_floating_point() or (name in average and equal(tensor.float(), average[name].float()))
    }


def _add(weights: dict[str, Tensor], tensors: Mapping[str, Tensor], factor: float) -> None:
    """Add so much of a file's tensors, in float32."""
    for name, tensor in tensors.items():
        if name in weights:
            weights[name].add_(tensor.float(), alpha=factor)
        else:
            weights[name] = tensor.float() * factor
