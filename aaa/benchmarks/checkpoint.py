"""What a checkpoint costs: the step that waits for it, the steps beside which it is written, and taking it up again."""

import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import torch
from omegaconf import DictConfig
from torch.optim import Optimizer

from aaa.benchmarks.counts import Count
from aaa.benchmarks.report import Report
from aaa.benchmarks.subject import Subject, make_subject
from aaa.saved.checkpoint import Snapshot, State, load_optimizer, load_weights, take_snapshot
from aaa.saved.checkpoint_folders import AVERAGE, MODEL, newest_whole
from aaa.saved.checkpoint_keeper import CheckpointKeeper, Keep
from aaa.saved.whole_folders import remove_whole
from aaa.training.timing import seconds


class Checkpointing:
    """Saves while training waits and beside it, and loads, with the config's model, optimizer and EMA.

    Args:
        repeats: of each; medians count.
        folder: where to write, which may be another disk than the system's; null for a temporary folder.
    """

    def __init__(self, repeats: Count, folder: str | None = None) -> None:
        self.repeats, self.folder = repeats, folder

    def run(self, config: DictConfig, device: str) -> Report:
        """Measure."""
        subject = make_subject(config, device, precision=config.trainer.precision, compiled=False)
        batch_size = config.trainer.batch_size
        numbers = count()
        place = subject.accelerator.device

        def step() -> None:
            subject.bare_step(batch_size, next(numbers))

        step()
        plain = median(seconds(step, place) for _ in range(2 * self.repeats + 1))
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            run = Path(folder)
            rows = dict(self._saving(run, subject, step, plain))
            rows |= self._loading(run, subject)
            size = _snapshot(subject, 0).nbytes
        subject.close()
        listed: list[dict[str, Any]] = [{"what": "a step", "seconds": plain}]
        listed += [{"what": name, "seconds": value} for name, value in rows.items()]
        note = f"weights, average and optimizer: {size / 2**30:.2f} GiB"
        return Report(f"{config.model.name}: checkpoints, batches of {batch_size}", listed, ("what", "seconds"), [note])

    def _saving(self, run: Path, subject: Subject, step: Any, plain: float) -> Iterator[tuple[str, float]]:
        keeper = CheckpointKeeper(run / "checkpoints", Keep(), in_background=True)
        place = subject.accelerator.device
        waited, copied, written, added = [], [], [], []
        for repeat in range(self.repeats):
            sync, background = (_snapshot(subject, 1 + 2 * repeat + number) for number in (0, 1))
            waited.append(seconds(lambda sync=sync: keeper.save(sync, wait=True), place))  # type: ignore[misc]
            began = time.perf_counter()
            keeper.save(background, wait=False)
            copied.append(time.perf_counter() - began)
            steps = 0
            while keeper.is_writing:
                seconds(step, place)
                steps += 1
            keeper.wait()
            taken = time.perf_counter() - began
            written.append(taken)
            added.append(taken - steps * plain)
            for checkpoint in sorted((run / "checkpoints").iterdir())[:-1]:
                remove_whole(checkpoint)
        keeper.close()
        yield "saved while training waits: added to a step", median(waited)
        yield "saved in the background: the step waits for a copy", median(copied)
        yield "saved in the background: until it is on disk", median(written)
        yield "saved in the background: added to all steps meanwhile", median(added)

    def _loading(self, run: Path, subject: Subject) -> Iterator[tuple[str, float]]:
        place = subject.accelerator.device
        model = subject.accelerator.unwrap_model(subject.model)
        found = newest_whole(run)
        assert found is not None
        verify = median(seconds(lambda: newest_whole(run), place) for _ in range(self.repeats))

        def load() -> None:
            load_weights(found / MODEL, model)
            load_optimizer(found, _optimizer(subject))
            if subject.ema is not None:
                load_weights(found / AVERAGE, subject.ema.module)

        yield "resuming: comparing every byte with the manifest", verify
        yield "resuming: loading", median(seconds(load, place) for _ in range(self.repeats))


def _optimizer(subject: Subject) -> Optimizer:
    inner: Optimizer = getattr(subject.optimizer, "optimizer", subject.optimizer)
    return inner


def _snapshot(subject: Subject, step: int) -> Snapshot:
    ema: torch.nn.Module | None = None if subject.ema is None else subject.ema.module
    model = subject.accelerator.unwrap_model(subject.model)
    return take_snapshot(State(step, 0.0, "bench", 0), model, ema, _optimizer(subject), {"format": "pt"})
