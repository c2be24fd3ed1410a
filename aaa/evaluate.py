"""Judge a saved model: `python -m aaa.evaluate model=RUN [evaluation=NAME]`."""

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig

from aaa.cli import SAVED_MODEL, run
from aaa.config.command_schema import EvaluateConfig
from aaa.config.ranges import require_ranges
from aaa.run.sweep_job import folder_of_job, say_which_job
from aaa.saved.named_model import require_there
from aaa.tracking.files import require_writable
from aaa.tracking.printed import one_line

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from rich.table import Table

logger = logging.getLogger(__name__)


def evaluate(config: "DictConfig") -> None:
    """Print the metrics, write them as JSON, and the pictures beside them."""
    say_which_job(SAVED_MODEL)
    require_ranges(EvaluateConfig, config)
    model = Path(config.saved_model)
    require_there(model)
    from rich.text import Text

    from aaa.assembly.build import build  # with torch, which no error so far needs
    from aaa.config.sampling_choice import sampling_choice
    from aaa.run.evaluation_record import name_of_its_own, record_name, settings_of, write_record
    from aaa.run.launch import launched
    from aaa.run.saved_evaluation import judge, run_of
    from aaa.tracking.console import for_tables

    # Each job of a sweep may judge another model.
    out = run_of(model) / "evaluation" if config.out is None else folder_of_job(Path(config.out))
    require_writable(out)  # before minutes of judging are lost on it
    with launched(config.device) as (processes, device):
        judged = judge(
            model,
            build(config, "evaluation"),
            sampling_choice(config),
            weights=config.weights,
            device=device,
            precision=config.precision,
            seed=config.seed,
            trust_config=config.trust_config,
            processes=processes,
        )
    if processes.index:
        return  # the first writes what all have found
    settings = settings_of(HydraConfig.get().overrides.task)
    name = record_name(judged.weights, settings)
    if config.out is not None:
        name = name_of_its_own(out, name, judged.weights, run_of(model))
    pictures = write_record(out, name, judged, settings)
    shown = for_tables(sys.stdout)
    shown.print(Text(one_line(str(judged.weights))), soft_wrap=True)  # a title would be broken to the table's width
    shown.print(_table(judged.metrics))
    logger.info("Wrote %s", out / f"{name}.json")
    for path in pictures:
        logger.info("Look at %s", path)


def _table(metrics: Mapping[str, float]) -> "Table":
    from rich.table import Table

    table = Table()
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("standard error", justify="right")
    for metric, value in metrics.items():
        if not metric.endswith("_standard_error"):
            error_of_it = metrics.get(f"{metric}_standard_error")
            table.add_row(metric, f"{value:.4g}", "" if error_of_it is None else f"{error_of_it:.2g}")
    return table


def main() -> None:
    """Entry point of `aaa-evaluate`."""
    run(evaluate, "evaluate", called=SAVED_MODEL)


if __name__ == "__main__":
    main()
