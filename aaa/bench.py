"""Measure speed: `python -m aaa.bench [bench=NAME] model=... [overrides]`."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from aaa.cli import run
from aaa.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

logger = logging.getLogger(__name__)


def bench(config: "DictConfig") -> None:
    """Run one benchmark; print its table, write results.json and plot.png."""
    from aaa.config.checks import check_config

    check_config(config)  # before torch is loaded, which takes seconds
    if config.trainer.batch_size == "auto":
        raise UserError("trainer.batch_size=auto: a benchmark measures a number.")
    import torch

    from aaa.assembly.build import build
    from aaa.benchmarks.counts import require_counts
    from aaa.devices import describe_device, pick_device
    from aaa.tracking.console import for_tables
    from aaa.tracking.environment import describe_environment

    device = pick_device(config.trainer.device)
    benchmark = build(config, "bench")
    given: Any = OmegaConf.to_container(config.bench, resolve=True)
    require_counts(type(benchmark), given, "bench")
    report = benchmark.run(config, device)
    report.save(Path(config.output_dir), describe_environment(describe_device(torch.device(device))))
    console = for_tables(sys.stderr)
    console.print(report.table(console.width))
    logger.info("Wrote results.json and plot.png to %s", config.output_dir)


def main() -> None:
    """Entry point of `aaa-bench`."""
    run(bench, "bench")


if __name__ == "__main__":
    main()
