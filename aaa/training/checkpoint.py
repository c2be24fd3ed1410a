"""Checkpoints: everything a run needs to go on, in a folder that is either whole or not there."""

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from aaa.errors import UserError
from aaa.models.weights_file import read_dit_tensors

FOLDER = re.compile(r"step-(\d{8,})")
STATE = "state.json"
MODEL, EMA, OPTIMIZER = "model.safetensors", "ema.safetensors", "optimizer.pt"


@dataclass(frozen=True)
class State:
    """Where a run stands.

    Attributes:
        step: optimizer steps taken.
        seconds: time spent training, over all resumes.
        cache_fingerprint: of the latent cache trained on.
        ema_updates: updates of the moving average, 0 without one.
    """

    step: int
    seconds: float
    cache_fingerprint: str
    ema_updates: int


def save_checkpoint(
    folder: Path,
    state: State,
    model: nn.Module,
    ema: nn.Module | None,
    optimizer: Optimizer,
    metadata: Mapping[str, str],
) -> Path:
    """Write `folder/step-00000500` for a run at step 500, aside first and renamed when whole.

    Args:
        folder: the run's `checkpoints/`.
        state: where the run stands.
        model, ema: their weights are saved as safetensors.
        optimizer: its state is saved by torch, to be read with `weights_only=True`.
        metadata: written into the headers of the weights.
    """
    final = folder / f"step-{state.step:08d}"
    aside = folder / f".step-{state.step:08d}"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    save_weights(aside / MODEL, model, metadata)
    if ema is not None:
        save_weights(aside / EMA, ema, metadata)
    torch.save(optimizer.state_dict(), aside / OPTIMIZER)
    (aside / STATE).write_text(json.dumps(vars(state), indent=2), encoding="utf-8")
    for file in aside.iterdir():
        _flush_to_disk(file)
    shutil.rmtree(final, ignore_errors=True)
    aside.rename(final)
    _flush_to_disk(folder)
    return final


def save_weights(path: Path, model: nn.Module, metadata: Mapping[str, str]) -> None:
    """Save a model's weights as safetensors."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, path, metadata=dict(metadata))


def load_weights(path: Path, model: nn.Module) -> None:
    """Load safetensors into a model.

    Raises:
        UserError: if the file is missing or damaged, or its tensors are not the model's.
    """
    tensors = read_dit_tensors(path)
    expected = model.state_dict()
    problems = _differences(tensors, expected)
    if problems:
        listed = "\n  ".join(problems[:5])
        more = f"\n  ... and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise UserError(
            f"{path}: its weights do not fit the configured model:\n  {listed}{more}\n"
            "Were model.dim, model.depth, encoder or resolution changed? Set them back, or train a new run."
        )
    model.load_state_dict(tensors)


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
        content: dict[str, Any] = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
        return State(**content)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{checkpoint / STATE}: damaged ({error}). Delete {checkpoint.name}, and the run goes on from the "
            "checkpoint before it."
        ) from error


def load_optimizer(checkpoint: Path, optimizer: Optimizer) -> None:
    """Load the optimizer's state. Learning rate, weight decay and the like stay those it was made with.

    (The saved learning rate is the schedule's at that step, not the one that the schedule multiplies.)

    Raises:
        UserError: if it is that of another optimizer or model.
    """
    path = checkpoint / OPTIMIZER
    configured = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    try:
        optimizer.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (ValueError, KeyError, RuntimeError, OSError, UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not the state of the configured optimizer ({reason})") from error
    for group, options in zip(optimizer.param_groups, configured, strict=True):
        group.update(options)


def newest_checkpoint(run: Path) -> Path | None:
    """The checkpoint of a run folder with the most steps, or None."""
    found = [
        path
        for path in (run / "checkpoints").glob("step-*")
        if FOLDER.fullmatch(path.name) and (path / STATE).is_file()
    ]
    return max(found, key=lambda path: int(path.name.removeprefix("step-")), default=None)


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
