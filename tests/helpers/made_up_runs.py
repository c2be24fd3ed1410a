"""Run folders with made-up numbers, for reports that want many."""

import json
import math
import random
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from aaa.tracking.validation_rows import ValidationRows, write_rows


def make_runs(
    folder: Path, rates: list[float], depths: list[int], seeds: list[int], rows: int, pictures: int = 2
) -> None:
    """A run for each combination, with loss curves that look like some."""
    for rate in rates:
        for depth in depths:
            for seed in seeds:
                _make_run(folder / f"{rate:g}-{depth}-{seed}", rate, depth, seed, rows, pictures)


def _make_run(run: Path, rate: float, depth: int, seed: int, rows: int, pictures: int) -> None:
    draws = random.Random(f"{rate} {depth} {seed}")
    (run / "samples").mkdir(parents=True)
    config = {"name": "made_up", "seed": seed, "model": {"depth": depth}, "optimizer": {"learning_rate": rate}}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    (run / "environment.json").write_text(json.dumps({"model": {"parameters": depth * 10**5}}))
    floor = 0.1 + 0.05 * abs(math.log10(rate) + 2.3) + 0.3 / depth + draws.gauss(0, 0.005)
    lines = []
    for step in range(1, rows + 1):
        loss = floor + math.exp(-step / (rows / 5)) + draws.gauss(0, 0.03)
        row = {"step": step, "samples": 32 * step, "seconds": 0.1 * step * depth, "flops": 1e9 * depth * step}
        lines.append(row | {"train/loss": loss, "train/lr": rate, "perf/images_per_second": 320 / depth})
        if step % max(rows // 10, 1) == 0:
            bands = {f"val/loss_sigma_{n / 5:.1f}_{(n + 1) / 5:.1f}": (loss + 0.1) * (1 + n / 3) for n in range(5)}
            lines.append({"step": step, "val/loss": floor + math.exp(-step / (rows / 5)), **bands})
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for number in range(pictures):
        picture = Image.new("RGB", (300, 150), (40 * depth % 256, 90 * number % 256, 128))
        picture.save(run / "samples" / f"step-{rows * (number + 1) // pictures:08d}.png")


def make_trial(
    run: Path,
    told: Mapping[str, Any],
    loss: float,
    *,
    follows: Mapping[str, Any] | None = None,
    parameters: float = 1e5,
    flops: float = 1e9,
    step: int = 10,
    table: str = "a",
    pictures: int = 12,
) -> None:
    """A run of a sweep whose validation loss is exactly this, of pictures that differ much.

    Args:
        run: its folder.
        told: what it was told, by key, its seed among it.
        loss: of its last validation.
        follows: further keys that differ and that nobody told it.
        parameters: of its model.
        flops: that it was trained with.
        step: of 10 that it has come to.
        table: digest of the validation table.
        pictures: in that table.
    """
    (run / ".hydra").mkdir(parents=True)
    config: dict[str, Any] = {"trainer": {"max_steps": 10}}
    for key, value in (dict(told) | dict(follows or {})).items():
        *parts, last = key.split(".")
        inner = config
        for part in parts:
            inner = inner.setdefault(part, {})
        inner[last] = value
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    (run / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump([f"{key}={value}" for key, value in told.items()]))
    (run / "environment.json").write_text(json.dumps({"model": {"parameters": parameters}}))
    draws = random.Random(f"{sorted(told.items())}")
    own = [0.01 * number + draws.gauss(0, 0.003) for number in range(pictures)]
    losses = [loss + one - sum(own) / pictures for one in own]
    write_rows(run, ValidationRows(step, table, [f"{number}" for number in range(pictures)], [0.5] * pictures, losses))
    row = {"step": step, "samples": 32 * step, "seconds": 1.0, "flops": flops, "train/loss": loss}
    (run / "metrics.jsonl").write_text(f"{json.dumps(row)}\n{json.dumps({'step': step, 'val/loss': loss})}\n")


def grid(**values: list[Any]) -> list[dict[str, Any]]:
    """Each combination of these values, by key, in which `__` stands for a dot; the last key varies fastest."""
    keys = [key.replace("__", ".") for key in values]
    return [dict(zip(keys, combination, strict=True)) for combination in product(*values.values())]
