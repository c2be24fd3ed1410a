"""Run folders with made-up numbers, for reports that want many."""

import json
import math
import random
from pathlib import Path

import yaml
from PIL import Image


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
