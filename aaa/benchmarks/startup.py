"""How long one waits for an answer: the config, the first step, the end of ten steps."""

import logging
import tempfile
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from aaa.benchmarks.commands import QUIET, in_folder, measure, typed
from aaa.benchmarks.counts import Count
from aaa.benchmarks.report import Report

logger = logging.getLogger(__name__)

# torch loads its compiler when the first optimizer is made, whether anything is compiled or not.
OPTIMIZER = "the same, with an optimizer made"


class Startup:
    """Runs the commands as a user types them, each in a process of its own, with the overrides of the benchmark.

    Args:
        repeats: of each; the fastest counts, so that a busy machine tells little.
    """

    def __init__(self, repeats: Count) -> None:
        self.repeats = repeats

    def run(self, config: DictConfig, device: str) -> Report:  # noqa: ARG002
        """Measure."""
        chosen = typed()
        rows: list[dict[str, Any]] = []
        with tempfile.TemporaryDirectory() as folder:
            train = ["-m", "aaa.train", *chosen, *QUIET, "evaluation=none", *in_folder(Path(folder))]
            commands = {
                "python -c 'import torch, accelerate'": ["-c", "import torch, accelerate"],
                OPTIMIZER: ["-c", "import accelerate, torch; torch.optim.AdamW([torch.ones(1)])"],
                "python -c 'import torch, diffsynth'": ["-c", "import torch, diffsynth"],
                "train --help": ["-m", "aaa.train", "--help"],
                "train --cfg job": ["-m", "aaa.train", *chosen, "--cfg", "job"],
                "train, 1 step, building the cache": [*train, "trainer.max_steps=1"],
                "train, 1 step, cached": [*train, "trainer.max_steps=1"],
                "train, 10 steps, cached": [*train, "trainer.max_steps=10"],
            }
            for name, arguments in commands.items():
                repeats = 1 if "building" in name else self.repeats
                seconds = min(measure(Path(folder), *arguments).seconds for _ in range(repeats))
                logger.info("%s: %.2f s", name, seconds)
                rows.append({"command": name, "seconds": seconds})
        of_each = {row["command"]: row["seconds"] for row in rows}
        cached = of_each["train, 1 step, cached"]
        notes = [
            f"a cached run of one step takes {cached - of_each[name]:+.2f} s beside {name}"
            for name in (OPTIMIZER, "python -c 'import torch, diffsynth'")
        ]
        return Report("From the command to its answer", rows, ("command", "seconds"), notes)
