"""How long until the tutorial's quality: its regime and our recipe on the same data, judged by validation loss."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from aaa.benchmarks.commands import in_folder, measure, typed
from aaa.benchmarks.report import Report
from aaa.reports.runs import read_runs

VALIDATIONS = 30
QUIET = ("logger=none", "evaluation=none", "trainer.sample_every_steps=0", "trainer.save_every_steps=0")


class Quality:
    """Trains by each regime with `aaa.train`, one after the other, and finds when the first one's best loss is reached.

    The loss is the unweighted one over fixed records, noise levels and noise; seconds are those of training alone.

    Args:
        regimes: overrides by name; the first sets the target.
        steps: of each regime; 0 for what its config says.
    """

    def __init__(self, regimes: Mapping[str, Sequence[str]], steps: Mapping[str, int]) -> None:
        self.regimes, self.steps = regimes, steps

    def run(self, config: DictConfig, device: str) -> Report:
        """Measure."""
        chosen = typed()
        curves: dict[str, list[dict[str, Any]]] = {}
        with tempfile.TemporaryDirectory() as folder:
            for name, overrides in self.regimes.items():
                steps = self.steps[name] or config.trainer.max_steps
                often = [f"trainer.max_steps={steps}", f"trainer.validate_every_steps={max(1, steps // VALIDATIONS)}"]
                own = [*often, f"name={name}", *in_folder(Path(folder))]
                measure(Path(folder), "-m", "aaa.train", *overrides, *chosen, *QUIET, *own)
                (run,) = read_runs([Path(folder) / "outputs" / name])
                losses = run.curve("samples", "val/loss")
                seconds = run.curve("seconds", "val/loss")[0]
                curves[name] = [
                    {"regime": name, "samples": samples, "seconds": taken, "val/loss": loss}
                    for samples, loss, taken in zip(*losses, seconds, strict=True)
                ]
        rows = [row for curve in curves.values() for row in curve]
        title = f"{config.model.name} on {config.data.name}, on {device}"
        return Report(title, rows, ("seconds", "val/loss"), _notes(curves))


def _notes(curves: dict[str, list[dict[str, Any]]]) -> list[str]:
    """When each regime first was as good as the first one at its best."""
    first, *others = curves
    best = min(curves[first], key=lambda row: row["val/loss"])
    target = best["val/loss"]
    notes = [f"{first}: best validation loss {target:.4f} after {best['samples']} samples, {best['seconds']:.0f} s"]
    for name in others:
        reached = next((row for row in curves[name] if row["val/loss"] <= target), None)
        if reached is None:
            lowest = min(row["val/loss"] for row in curves[name])
            notes.append(f"{name}: did not reach it; {lowest:.4f} at best")
            continue
        notes.append(
            f"{name}: as good after {reached['samples']} samples, {reached['seconds']:.0f} s: "
            f"{best['seconds'] / reached['seconds']:.1f} x fewer seconds"
        )
    return notes
