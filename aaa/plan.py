"""Say what a run or sweep will take, and run nothing: `python -m aaa.plan [-m] [overrides]`."""

import logging
import sys
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException
from hydra.experimental.callback import Callback
from omegaconf import open_dict

from aaa.cli import run
from aaa.config.choices import brought_along, describe
from aaa.run.before_sweep import folder_of_numbered, refuse
from aaa.run.finished import finished_run
from aaa.run.search import BASIC, jobs_of
from aaa.run.sweep_job import is_of_sweep
from aaa.tracking.redaction import hide_argument
from aaa.tracking.variables import is_helper

if TYPE_CHECKING:
    from omegaconf import DictConfig

logger = logging.getLogger(__name__)


class ShowPlan(Callback):
    """Shows the plan of a sweep before its first run starts; named in conf/train.yaml.

    Args:
        stop: whether that is all.
    """

    def __init__(self, stop: bool = False) -> None:
        self.stop = stop

    def on_multirun_start(self, config: "DictConfig", **_kwargs: Any) -> None:
        """Plan all runs, where it is known beforehand which they are."""
        hydra = config.hydra
        if hydra.sweeper._target_ != BASIC:
            if self.stop:
                refuse(
                    "-m: a search finds its runs on its way, so they cannot be planned beforehand. Plan one of them: "
                    "leave out -m and the sweep, and give values that it may try."
                )
            return
        here = self.stop or hydra.launcher._target_.endswith(("BasicLauncher", "JoblibLauncher"))
        helper = is_helper()
        if not config.sweep.show_plan or not here or helper:
            return
        jobs = jobs_of(config)
        common = set(jobs[0]).intersection(*jobs)
        earlier = folder_of_numbered(config) if config.sweep.resume else None
        shown, done = [], []
        for number, overrides in enumerate(jobs):
            try:
                job = GlobalHydra.instance().config_loader().load_sweep_config(config, overrides)
            except ConfigCompositionException:  # Hydra is about to compose it too, and says what is wrong
                return
            if earlier is not None and finished_run(earlier / str(number), job) is not None:
                done.append(f"#{number}")
                continue
            told = _told(overrides, job.hydra.runtime.choices, common)
            with open_dict(job):
                del job["hydra"]
            shown.append((number, job, told))
        _show(shown)
        if done:
            print(f"{len(done)} of {len(jobs)} runs are finished already: {', '.join(done)}.")
        if self.stop:
            sys.exit(0)


def plan(config: "DictConfig") -> None:
    """Plan one run; the runs of a sweep are planned before the first would start."""
    if not is_of_sweep():
        composed = HydraConfig.get()
        _show([(0, config, _told(composed.overrides.task, composed.runtime.choices))])


def _told(overrides: Sequence[str], choices: Mapping[str, str], common: Collection[str] = ()) -> list[str]:
    """The words of a run: its overrides without those that all runs have, and what they bring along."""
    told = [hide_argument(part) for part in overrides if part not in common]
    brought = brought_along(choices, overrides)
    return [*told, f"(with {describe(brought)})"] if brought else told


def _show(jobs: "list[tuple[int, DictConfig, list[str]]]") -> None:
    from aaa.benchmarks.plan import Planner, as_table, notes
    from aaa.tracking.console import for_tables

    planner = Planner(partial(print, file=sys.stderr, flush=True))  # logging is not set up before a sweep
    logging.getLogger("aaa.run.budget").setLevel(logging.WARNING)  # the table says what it would
    try:
        plans = [planner.plan(config, overrides, number) for number, config, overrides in jobs]
    finally:
        logging.getLogger("aaa.run.budget").setLevel(logging.NOTSET)
    console = for_tables(sys.stdout)
    console.print(as_table(plans, console.width))
    for note in notes(plans):
        console.print(note, soft_wrap=True, markup=False, highlight=False)


def main() -> None:
    """Entry point of `aaa-plan`."""
    run(plan, "plan")


if __name__ == "__main__":
    main()
