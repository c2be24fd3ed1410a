"""A training step for sizes of batch, precisions, compiled or not: how fast, what it spends its time on, what fits."""

import logging
from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from aaa.benchmarks.counts import Count
from aaa.benchmarks.report import Report
from aaa.benchmarks.subject import Subject, make_subject, quiet_tracker
from aaa.data.randomness import generator
from aaa.tracking.tracker import Tracker
from aaa.training.memory import available_memory, peak_memory_gib, reset_peak_memory
from aaa.training.step import sum_of
from aaa.training.timing import matmul_rate, quantiles, seconds

logger = logging.getLogger(__name__)

WARM_UP_STEPS = 2
PARTS = ("data", "forward", "backward", "optimizer", "EMA", "logging")
COLUMNS = ("precision", "compiled", "batch", "images/s", "step ms", "MFU", "peak GiB", "note")
ON_THE_WAY = (
    "precision",
    "compiled",
    "batch",
    "images/s",
    "step ms",
)  # what is said of each row


class Speed:
    """Measures steps of the config's model.

    Args:
        batch_sizes: rising.
        precisions: `float32`, `bf16` (autocast), `bf16_weights`.
        compiled: whether by torch.compile, or how: any of what `trainer.compile` may be.
        steps: measured for each combination.
        max_step_seconds: batches whose steps would take longer are left out.
    """

    def __init__(
        self,
        batch_sizes: Sequence[Count],
        precisions: Sequence[str],
        compiled: Sequence[bool | str],
        steps: Count,
        max_step_seconds: float,
    ) -> None:
        self.batch_sizes, self.precisions, self.compiled, self.steps = batch_sizes, precisions, compiled, steps
        self.max_step_seconds = max_step_seconds

    def run(self, config: DictConfig, device: str) -> Report:
        """Measure."""
        rows: list[dict[str, Any]] = []
        rates: dict[torch.dtype, float] = {}
        for precision, compiled in product(self.precisions, self.compiled):
            subject = make_subject(config, device, precision=precision, compiled=compiled)
            dtype = subject.session.product_dtype
            if dtype not in rates:
                rates[dtype] = matmul_rate(subject.accelerator.device, dtype)
            footprint = subject.footprint()
            available = available_memory(subject.accelerator.device)
            slowest = 0.0  # seconds a sample
            for batch_size in self.batch_sizes:
                row: dict[str, Any] = {
                    "precision": precision,
                    "compiled": describe_compiling(compiled),
                    "batch": batch_size,
                }
                if (needed := footprint.of(batch_size)) > available:
                    fits = footprint.largest(available)
                    rows.append(row | {"note": f"does not fit: about {needed / 2**30:.1f} GiB; {fits} would"})
                    break
                if (expected := batch_size * slowest) > self.max_step_seconds:
                    rows.append(row | {"note": f"left out: about {expected:.0f} s a step"})
                    break
                try:
                    row |= self._measure(subject, batch_size, rates[dtype])
                except torch.OutOfMemoryError:
                    rows.append(row | {"note": "does not fit"})
                    break
                slowest = 1 / row["images/s"]
                rows.append(row)
                logger.info("%s", "  ".join(f"{key} {_short(row[key])}" for key in ON_THE_WAY))
            subject.close()
        title = f"{config.model.name}: steps of training"
        return Report(title, rows, ("batch", "images/s"), _notes(rows, rates, device), COLUMNS)

    def _measure(self, subject: Subject, batch_size: int, rate: float) -> dict[str, Any]:
        device = subject.accelerator.device
        reset_peak_memory(device)
        for number in range(WARM_UP_STEPS):
            seconds(partial(subject.bare_step, batch_size, number), device)
        steps = range(WARM_UP_STEPS, WARM_UP_STEPS + self.steps)
        times = [seconds(partial(subject.bare_step, batch_size, number), device) for number in steps]
        parts: dict[str, list[float]] = {}
        with quiet_tracker() as tracker:
            for number in steps:
                for name, taken in parts_of_step(subject, tracker, batch_size, number).items():
                    parts.setdefault(name, []).append(taken)
        middle, low, high = quantiles(times)
        return {
            "images/s": batch_size / middle,
            "step ms": 1000 * middle,
            "p5": 1000 * low,
            "p95": 1000 * high,
            **{f"{name} ms": 1000 * quantiles(taken)[0] for name, taken in parts.items()},
            "tokens/s": batch_size * subject.tokens / middle,
            "TFLOP/s": batch_size * subject.flops / middle / 1e12,
            "MFU": batch_size * subject.flops / middle / rate,
            "peak GiB": peak_memory_gib(device),
        }


def parts_of_step(subject: Subject, tracker: Tracker, batch_size: int, number: int) -> dict[str, float]:
    """The same step, waiting for the device after each part, and logged, which the trainer does every so many steps."""
    device = subject.accelerator.device
    held: dict[str, Any] = {}

    def data() -> None:
        positions = range(number * batch_size, (number + 1) * batch_size)
        held["batch"] = subject.batches(positions).to(device)

    def forward() -> None:
        draws = generator("bench", number, device=device)
        held["loss"] = sum_of(subject.loss(subject.model, held["batch"], draws, 0)).mean()

    def optimizer() -> None:
        nn.utils.clip_grad_norm_(subject.model.parameters(), 1.0)
        subject.optimizer.step()
        subject.optimizer.zero_grad()

    def ema() -> None:
        if subject.ema is not None:
            subject.ema.update_parameters(subject.accelerator.unwrap_model(subject.model))

    return {
        "data": seconds(data, device),
        "forward": seconds(forward, device),
        "backward": seconds(lambda: subject.accelerator.backward(held["loss"]), device),
        "optimizer": seconds(optimizer, device),
        "EMA": seconds(ema, device),
        "logging": seconds(lambda: tracker.log(number, {"train/loss": held["loss"].item()}), device),
    }


def describe_compiling(how: bool | str) -> str:
    """A value of `trainer.compile` as a cell of a table."""
    return how if isinstance(how, str) else "yes" if how else "no"


def _notes(rows: list[dict[str, Any]], rates: dict[torch.dtype, float], device: str) -> list[str]:
    notes = [
        f"{device}: multiplies {str(dtype).removeprefix('torch.')} matrices at {rate / 1e12:.2f} TFLOP/s; MFU is the "
        "share of that"
        for dtype, rate in rates.items()
    ]
    measured = [row for row in rows if "images/s" in row]
    if measured:
        best = max(measured, key=lambda row: row["images/s"])
        compiled = "not compiled" if best["compiled"] == "no" else "compiled"
        notes.append(
            f"fastest: trainer.batch_size={best['batch']} trainer.precision={best['precision']}, {compiled}: "
            f"{best['images/s']:.3g} images/s"
        )
        whole = sum(best[f"{part} ms"] for part in PARTS)
        notes.append("of its step: " + ", ".join(f"{part} {100 * best[f'{part} ms'] / whole:.0f}%" for part in PARTS))
    return notes


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
