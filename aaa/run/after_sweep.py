"""What is said at the end of a sweep: how many of its runs came to theirs, and what to do now."""

from pathlib import Path

from aaa.config.commands import compare_command
from aaa.config.trust import read_yaml_config
from aaa.errors import UserError
from aaa.run.claim import is_of_others
from aaa.run.earlier_sweep import SAME_SWEEP
from aaa.run.finished import finished_run
from aaa.run.naming import overrides_of
from aaa.run.search import BASIC, jobs_of
from aaa.saved.named_model import RUN_CONFIG
from aaa.tracking.printed import one_line, shown
from aaa.tracking.recorded_overrides import MULTIRUN, OVERRIDES
from aaa.tracking.redaction import HIDDEN

LISTED = 10  # runs that are named


def say_how_it_ended(folder: Path) -> None:
    """Count the runs of a sweep, and name those that are not finished.

    Args:
        folder: of the sweep, absolute.
    """
    runs = [path.parent.parent for path in folder.glob(f"**/{OVERRIDES}")]
    begun = {run: overrides_of(run, []) for run in runs if not is_of_others(run)}
    left = sorted((run for run in begun if not _is_finished(run)), key=lambda run: (len(run.name), run.name))
    finished, planned = len(begun) - len(left), max(len(begun), _planned(folder))
    if not planned:
        return
    lines = [f"Sweep: {finished} of {planned} runs are finished in {shown(folder)}"]
    common = set.intersection(*map(set, begun.values())) if begun else set()
    for run in left[:LISTED]:
        told = ", ".join(override for override in begun[run] if override not in common)
        lines.append(f"not finished: {run.relative_to(folder)} ({told})")
    if len(left) > LISTED:
        lines.append(f"... and {len(left) - LISTED} more")
    if planned > len(begun):
        lines.append(f"not begun: {planned - len(begun)}")
    if planned > finished:
        lines.append(f"to go on: {SAME_SWEEP}")
    if finished:
        lines.append(f"compare: {compare_command([shown(folder)])}")
    print("\n  ".join(map(one_line, lines)))


def _planned(folder: Path) -> int:
    """How many runs the sweep was to have; 0 where it is not known any more."""
    try:
        config = read_yaml_config(folder / MULTIRUN)
        task = config.hydra.overrides.task
        config.hydra.overrides.task = [override for override in task if HIDDEN not in override]  # Hydra reads no `<`
        return len(jobs_of(config)) if config.hydra.sweeper._target_ == BASIC else int(config.hydra.sweeper.n_trials)
    except Exception:  # whatever is wrong with the file: a sweep that came to its end does not fail for a count
        return 0


def _is_finished(run: Path) -> bool:
    config = run / RUN_CONFIG
    try:
        return config.is_file() and finished_run(run, read_yaml_config(config)) is not None
    except UserError:  # it is damaged
        return False
