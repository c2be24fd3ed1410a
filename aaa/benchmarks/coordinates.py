"""How much the first steps change at each size: the coordinate check of Tensor Programs V (2203.03466, appendix D.1).

Under rules that let a learning rate serve every size, a layer's outputs change as much in a wide model as in a narrow
one, and as much in a deep one as in a shallow one.
"""

import logging
import math
import re
from collections.abc import Sequence
from contextlib import ExitStack
from copy import deepcopy
from functools import partial
from itertools import product
from statistics import fmean
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from aaa.benchmarks.coordinates_report import PARAMETRIZATIONS, SizesReport
from aaa.benchmarks.counts import Count
from aaa.benchmarks.report import Report
from aaa.benchmarks.subject import Subject, make_subject
from aaa.config.checks import check_config
from aaa.errors import UserError
from aaa.models.parametrization import ends_of_branches

logger = logging.getLogger(__name__)

MUP = "mup"
PROBES = 8  # pictures that all models are looked at with


class Change(NamedTuple):
    """What steps have changed of a layer, as root mean squares over its outputs.

    Attributes:
        outputs: those of now less those of before, whatever changed them.
        update: what the change of its own weights makes of its inputs of now.
    """

    outputs: float
    update: float


# By parametrization, size, number of steps and layer.
Found = dict[str, dict[int, dict[int, dict[str, Change]]]]


class Coordinates:
    """Trains models of several widths and depths for a few steps, with each parametrization.

    Args:
        widths: at the depth of the base, each a multiple of the base's width of a head.
        depths: at the width of the base.
        steps: after how many it looks; rising.
        batch_size: of a step.
    """

    def __init__(self, widths: Sequence[int], depths: Sequence[int], steps: Sequence[Count], batch_size: Count) -> None:
        self.widths, self.depths, self.steps, self.batch_size = widths, depths, sorted(steps), batch_size
        for name, sizes in (("widths", widths), ("depths", depths)):  # along one of which it may not look at all
            if any(size < 1 for size in sizes) or not (widths or depths):
                raise UserError(f"bench.{name}={list(sizes)}: must be whole numbers above 0, one at least in all.")

    def run(self, config: DictConfig, device: str) -> Report:
        """Measure."""
        model = config.model
        along = {
            "width": {width: (width, model.base_depth) for width in self.widths},
            "depth": {depth: (model.base_dim, depth) for depth in self.depths},
        }
        rows: list[dict[str, Any]] = []
        for direction, sizes in along.items():
            found: Found = {}
            for parametrization, (size, (dim, depth)) in product(PARAMETRIZATIONS, sizes.items()):
                sized = _resized(config, dim, depth, parametrization)
                found.setdefault(parametrization, {})[size] = self._changes(sized, device)
                logger.info("%s %d, %s: measured", direction, size, parametrization)
            if found:
                rows += _rows(direction, found)
        columns = ("along", "layer", *(f"{name} {kind}" for name, kind in product(PARAMETRIZATIONS, Change._fields)))
        optimizer = config.optimizer._target_.rpartition(".")[2]
        title = f"{optimizer}: changes of each layer by the first steps"
        return SizesReport(title, rows, ("size", "change"), _notes(rows), columns)

    def _changes(self, config: DictConfig, device: str) -> dict[int, dict[str, Change]]:
        """By step and layer, what has changed since the start."""
        subject = make_subject(config, device, precision="float32", compiled=False, prompt_tokens=8)
        try:
            before, first = look(subject), deepcopy(subject.model).requires_grad_(requires_grad=False)
            changes = {}
            for step in range(1, self.steps[-1] + 1):
                subject.bare_step(self.batch_size, step)
                if step in self.steps:
                    changes[step] = compare(subject.model, first, before, look(subject))
            return changes
        finally:
            subject.close()


class Seen(NamedTuple):
    """What went into a linear layer, and what came out."""

    inputs: Tensor
    outputs: Tensor


@torch.no_grad()
def look(subject: Subject) -> dict[str, Seen]:
    """What each linear layer sees and says of the same noisy pictures."""
    device = subject.accelerator.device
    batch = subject.batches(range(PROBES)).to(device)
    timesteps = torch.linspace(50, 950, PROBES, device=device)
    seen: dict[str, Seen] = {}

    def note(name: str, _layer: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
        seen[name] = Seen(inputs[0], outputs)

    with ExitStack() as hooks:
        for name, layer in subject.model.named_modules():
            if isinstance(layer, nn.Linear):
                hooks.callback(layer.register_forward_hook(partial(note, name)).remove)
        subject.model(batch.latents, batch.prompt_embeds, timesteps)
    return seen


@torch.no_grad()
def compare(model: nn.Module, first: nn.Module, before: dict[str, Seen], now: dict[str, Seen]) -> dict[str, Change]:
    """What has changed of each layer, those of the same name in all blocks together.

    Layers that write to the residual stream add up over the blocks, so theirs is the sum; others' is the mean.

    Args:
        model: as it is now.
        first: as it was.
        before, now: what their layers said.
    """
    ends = ends_of_branches(model)
    squares: dict[str, list[tuple[float, float]]] = {}
    written: dict[str, list[tuple[float, float]]] = {}
    for name, seen in now.items():
        changed = seen.outputs - before[name].outputs
        update = model.get_submodule(name)(seen.inputs) - first.get_submodule(name)(seen.inputs)
        sizes = changed.square().mean().item(), update.square().mean().item()
        of_kind = written if f"{name}.weight" in ends else squares
        of_kind.setdefault(re.sub(r"^blocks\.\d+\.", "block.", name), []).append(sizes)
    means = {kind: Change(*(math.sqrt(fmean(part)) for part in zip(*of, strict=True))) for kind, of in squares.items()}
    sums = {
        kind: Change(*(sum(map(math.sqrt, part)) for part in zip(*of, strict=True))) for kind, of in written.items()
    }
    return means | sums


def _resized(config: DictConfig, dim: int, depth: int, parametrization: str) -> DictConfig:
    """The config with a model of this size, whose heads are as wide as those of the base."""
    model = config.model
    heads, left = divmod(dim * model.base_heads, model.base_dim)
    if left or not heads:
        raise UserError(
            f"bench.widths: {dim} is no multiple of the width of a head of the base, "
            f"model.base_dim={model.base_dim} over model.base_heads={model.base_heads}."
        )
    sized = deepcopy(config)
    sized.model.update(dim=dim, depth=depth, heads=heads, parametrization=parametrization)
    sized.optimizer.learning_rate = config.optimizer.learning_rate  # the same, where it follows the parametrization
    sized.trainer.ema_decay, sized.trainer.ema_memory = 0, None
    check_config(sized)
    return sized


def _rows(along: str, found: Found) -> list[dict[str, Any]]:
    """A row a number of steps and a layer: how many times the least change over sizes the largest is."""
    some = next(iter(found[MUP].values()))
    rows: list[dict[str, Any]] = []
    for steps, layers in some.items():
        for layer in layers:
            values = {
                parametrization: {
                    kind: {size: getattr(changes[steps][layer], kind) for size, changes in of_sizes.items()}
                    for kind in Change._fields
                }
                for parametrization, of_sizes in found.items()
            }
            spreads = {
                f"{parametrization} {kind}": spread(list(sizes.values()))
                for parametrization, kinds in values.items()
                for kind, sizes in kinds.items()
            }
            rows.append({"along": along, "layer": layer, "steps": steps, **spreads, "values": values})
    return rows


def spread(values: Sequence[float]) -> float | None:
    """The largest over the least; None where one of them is nothing, as before a layer has had a gradient."""
    return max(values) / min(values) if min(values) > 0 else None


def _notes(rows: list[dict[str, Any]]) -> list[str]:
    """Between the sizes that differ most, for each parametrization, number of steps and direction."""
    notes = []
    for along, parametrization in product(dict.fromkeys(row["along"] for row in rows), PARAMETRIZATIONS):
        told = []
        for steps in dict.fromkeys(row["steps"] for row in rows):
            spreads = [
                (row[column], row["layer"])
                for row in rows
                for column in (f"{parametrization} {kind}" for kind in Change._fields)
                if (row["along"], row["steps"]) == (along, steps) and row[column] is not None
            ]
            most, layer = max(spreads)
            told.append(f"{most:.2g} after {steps} ({layer})")
        notes.append(f"{parametrization}, by {along}, at most: {', '.join(told)}")
    return notes
