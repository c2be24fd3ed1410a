"""Checkpoints: everything a run needs to go on, in a folder that is either whole or not there."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.optim import Optimizer

from aaa.config.commands import train_command
from aaa.data.tensor_files import save_tensors
from aaa.errors import UserError, reason
from aaa.saved.checkpoint_folders import AVERAGE, MODEL, OF_OBJECTIVE, OPTIMIZER, SETTINGS, STATE, write_manifest
from aaa.saved.weights_file import read_dit_tensors
from aaa.saved.whole_folders import REMOVED, take_place
from aaa.tracking.finite_json import from_json, to_json
from aaa.training.progress import UnloggedNumbers
from aaa.training.sharding import shard_like

# What torch raises for a file that is damaged or holds something else: it looks into it without asking what it is.
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RuntimeError, OSError, EOFError, UnpicklingError)


@dataclass  # not frozen: OmegaConf would not fill it
class State:
    """Where a run stands.

    Attributes:
        step: optimizer steps taken.
        seconds: time spent training, over all resumes.
        cache_fingerprint: of the latent cache trained on.
        ema_updates: updates of the moving average, 0 without one.
        skipped_steps: steps left out because their gradient was not finite.
        metrics: what was measured at this step.
        unlogged: of the steps since the last row of metrics.
        unlooked: names of what was still to be looked at after this step when a signal ended the run.
        samples: trained on; None in checkpoints of earlier versions.
        flops: of all training so far, forward and backward; None as well.
        kept_steps: of checkpoints that stay whatever is kept, since a message has offered to go on from them.
        parting_step: of the last checkpoint up to which learning rates were those of a run of the present length; None:
            they all were.
    """

    step: int
    seconds: float
    cache_fingerprint: str
    ema_updates: int
    skipped_steps: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    unlogged: UnloggedNumbers = field(default_factory=UnloggedNumbers)
    unlooked: list[str] = field(default_factory=list)
    samples: int | None = None
    flops: int | None = None
    kept_steps: list[int] = field(default_factory=list)
    parting_step: int | None = None


@dataclass(frozen=True)
class Snapshot:
    """What goes into a checkpoint: the state, and tensors that nobody changes until it is written.

    Attributes:
        state: where the run stands.
        model: the weights.
        ema: their moving average, or None.
        optimizer: its `state_dict`.
        metadata: for the headers of the weights.
        settings: what the run was trained with, by dotted key.
        of_objective: weights that the objective trains of its own, if any.
    """

    state: State
    model: Mapping[str, Tensor]
    ema: Mapping[str, Tensor] | None
    optimizer: Mapping[str, Any]
    metadata: Mapping[str, str]
    settings: Mapping[str, Any] = field(default_factory=dict)
    of_objective: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Size of all tensors."""
        return tensor_bytes([self.model, self.ema, self.optimizer, self.of_objective])

    def on_cpu(self) -> "Snapshot":
        """A copy in the CPU's memory, which training may go on beside."""
        from accelerate.utils import recursively_apply  # takes a second, which drawing pictures need not wait for

        model, ema, optimizer, of_objective = (
            recursively_apply(lambda tensor: tensor.detach().to("cpu", copy=True), part)
            for part in (self.model, self.ema, self.optimizer, self.of_objective)
        )
        return Snapshot(self.state, model, ema, optimizer, self.metadata, self.settings, of_objective)


def take_snapshot(
    state: State,
    model: nn.Module,
    ema: nn.Module | None,
    optimizer: Optimizer,
    metadata: Mapping[str, str],
    settings: Mapping[str, Any] | None = None,
    of_objective: nn.Module | None = None,
) -> Snapshot:
    """What a checkpoint of these is to hold: their own tensors, not copies."""
    average = None if ema is None else ema.state_dict()
    of_terms = {} if of_objective is None else of_objective.state_dict()
    return Snapshot(state, model.state_dict(), average, optimizer.state_dict(), metadata, settings or {}, of_terms)


def write_tensors(checkpoint: Path, snapshot: Snapshot) -> None:
    """Write a file of each kind of tensors."""
    save_tensors(_plain(snapshot.model), checkpoint / MODEL, snapshot.metadata)
    if snapshot.ema is not None:
        save_tensors(_plain(snapshot.ema), checkpoint / AVERAGE, snapshot.metadata)
    write_rest(checkpoint, snapshot.optimizer, snapshot.of_objective)


def write_rest(checkpoint: Path, optimizer: Mapping[str, Any], of_objective: Mapping[str, Tensor]) -> None:
    """Write what is not the model's."""
    if of_objective:
        save_tensors(_plain(of_objective), checkpoint / OF_OBJECTIVE)
    torch.save(optimizer, checkpoint / OPTIMIZER)


def write_checkpoint(folder: Path, snapshot: Snapshot, write: Callable[[Path, Snapshot], None] = write_tensors) -> Path:
    """Write `folder/step-00000500` for a run at step 500, aside first and renamed when it is whole and on disk.

    Args:
        folder: the run's `checkpoints/`.
        snapshot: what to write; the optimizer's part is for `torch.load(..., weights_only=True)`.
        write: writes its tensors.

    Raises:
        UserError: if it cannot be written. Nothing is left of it then, and what was there before is untouched.
    """
    step = snapshot.state.step
    final, aside = folder / f"step-{step:08d}", folder / f".step-{step:08d}"
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        write(aside, snapshot)
        (aside / STATE).write_text(to_json(asdict(snapshot.state), indent=2), encoding="utf-8")
        (aside / SETTINGS).write_text(json.dumps(snapshot.settings, indent=2), encoding="utf-8")
        write_manifest(aside)
        take_place(aside, final)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors have errors of their own
        shutil.rmtree(aside, ignore_errors=True)
        raise UserError(
            f"{final}: cannot be written ({reason(error)}). It takes {snapshot.nbytes / 2**30:.2f} GiB; "
            f"{_free_space(folder)}. Nothing is left of it, and earlier checkpoints are untouched: make room, "
            f"then go on with {train_command(resume=folder.parent)}"
        ) from error
    return final


def remove_unfinished(folder: Path) -> None:
    """Delete what a process that died left of checkpoints it was writing or deleting."""
    for path in [*folder.glob(".step-*"), *folder.glob(f"{REMOVED}*"), *folder.glob(".shards-*")]:
        shutil.rmtree(path, ignore_errors=True)


def tensor_bytes(tree: Any) -> int:
    """Bytes of all tensors in nested dictionaries and lists."""
    if isinstance(tree, Tensor):
        return tree.nbytes
    values = tree.values() if isinstance(tree, Mapping) else tree if isinstance(tree, list | tuple) else ()
    return sum(tensor_bytes(value) for value in values)


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def save_weights(path: Path, model: nn.Module, metadata: Mapping[str, str]) -> None:
    """Save a model's weights as safetensors."""
    save_tensors(_plain(model.state_dict()), path, metadata)


def load_weights(path: Path, model: nn.Module, read: Callable[[Path], dict[str, Tensor]] = read_dit_tensors) -> None:
    """Load safetensors into a model.

    Args:
        path: of the file.
        model: takes them.
        read: the file.

    Raises:
        UserError: if the file is missing or damaged, or its tensors are not the model's.
    """
    tensors = read(path)
    expected = model.state_dict()
    if wrong := misfits(tensors, expected):
        raise UserError(
            f"{path}: its weights do not fit the configured model:\n  {wrong}\n"
            "Were model.dim, model.depth, encoder or resolution changed? Set them back, or train a new run."
        )
    model.load_state_dict({name: shard_like(tensor, expected[name]) for name, tensor in tensors.items()})


def misfits(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """What keeps tensors from being those of a model, a line each; nothing if they are."""
    problems = _differences(found, expected)
    more = f"\n  ... and {len(problems) - 5} more" if len(problems) > 5 else ""
    return "\n  ".join(problems[:5]) + more


def read_of_objective(path: Path) -> dict[str, Tensor]:
    """What an objective has trained of its own: nothing where there is no such file."""
    return read_dit_tensors(path) if path.is_file() else {}


def load_of_objective(
    checkpoint: Path, modules: nn.ModuleDict, read: Callable[[Path], dict[str, Tensor]] = read_of_objective
) -> None:
    """Load what the objective trains of its own.

    Args:
        checkpoint: of the run that goes on.
        modules: by the names of their terms; take the weights.
        read: the file of these weights, if there is one.

    Raises:
        UserError: if it was trained with other terms that have weights of their own, naming the key.
    """
    path = checkpoint / OF_OBJECTIVE
    tensors = read(path)
    before, now = {name.partition(".")[0] for name in tensors}, set(modules)
    for name in sorted(before ^ now):
        raise UserError(
            f"objective.terms.{name}.weight: the run was trained {'with' if name in before else 'without'} this term, "
            f"which has weights of its own, and goes on as it began. Set it back, or use until_step to end a term; to "
            "start from the run's weights: init_from."
        )
    if problems := _differences(tensors, modules.state_dict()):
        name = problems[0].partition(".")[0]
        raise UserError(
            f"objective.terms.{name}: the run was trained with other keys of this term, which shape its weights "
            f"({path.name}: {problems[0]}). Set them back."
        )
    modules.load_state_dict(tensors)


def _differences(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    wrong = [
        f"{name}: shape {tuple(found[name].shape)} in the file, {tuple(tensor.shape)} in the model"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]
    missing = [f"{name}: not in the file" for name in expected if name not in found]
    surplus = [f"{name}: not in the model" for name in found if name not in expected]
    return wrong + missing + surplus


def load_state(checkpoint: Path) -> State:
    """Where the run stood when it wrote this checkpoint.

    Raises:
        UserError: if the file is missing or damaged.
    """
    try:
        content = from_json((checkpoint / STATE).read_text(encoding="utf-8"))
        checked = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(State), content))
        assert isinstance(checked, State)
        numbers = checked.unlogged
        counts = (checked.step, checked.ema_updates, checked.skipped_steps, numbers.count, checked.samples or 0)
        measured = len(numbers.steps)
        if min(counts) < 0 or not measured == len(numbers.losses) == len(numbers.grad_norms) <= numbers.count:
            raise ValueError("numbers that no run has")
        return checked
    except (OSError, ValueError, TypeError, RecursionError, OmegaConfBaseException) as error:
        raise UserError(
            f"{checkpoint / STATE}: not the state of a run of this version ({reason(error)}). Delete "
            f"{checkpoint.name}, and the run goes on from the checkpoint before it."
        ) from error


def load_settings(checkpoint: Path) -> dict[str, Any] | None:
    """What the run was trained with up to this checkpoint, by dotted key; None if the checkpoint does not say."""
    try:
        settings = json.loads((checkpoint / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return settings if isinstance(settings, dict) else None


def read_optimizer(path: Path) -> Any:
    """The state of an optimizer, on the CPU."""
    return torch.load(path, map_location="cpu", weights_only=True)


def load_optimizer(checkpoint: Path, optimizer: Optimizer, read: Callable[[Path], Any] = read_optimizer) -> None:
    """Load the optimizer's state. Learning rate, weight decay and the like stay those it was made with.

    (The saved learning rate is the schedule's at that step, not the one that the schedule multiplies.)

    Args:
        checkpoint: that has it.
        optimizer: takes it.
        read: its file.

    Raises:
        UserError: if it is that of another optimizer or model.
    """
    path = checkpoint / OPTIMIZER
    configured = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    try:
        optimizer.load_state_dict(read(path))
    except UNREADABLE as error:
        raise UserError(
            f"{path}: not the state of the configured optimizer ({reason(error)}). Was another one chosen, or "
            "optimizer.decayed or model.parametrization changed? Set it back, or train a new run."
        ) from error
    for group, options in zip(optimizer.param_groups, configured, strict=True):
        group.update(options)


def _free_space(folder: Path) -> str:
    try:
        return f"the disk has {shutil.disk_usage(folder).free / 2**30:.2f} GiB free"
    except OSError as error:
        return f"how much is free cannot be told ({error.strerror})"
