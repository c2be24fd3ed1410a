"""What is said at the end of a sweep: how many of its runs came to theirs, and what to do now."""

from pathlib import Path

import yaml

from aaa.config.trust import read_yaml_config
from aaa.run.claim import claimed_sweep, shown
from aaa.run.earlier_run import OVERRIDES
from aaa.run.earlier_sweep import SAME_SWEEP, finished_run
from aaa.tracking.printed import compare_command, one_line
from aaa.tracking.redaction import hide_argument

LISTED = 10  # runs that are named


def say_how_it_ended() -> None:
    """Count the runs of the sweep that this process has gone through; say nothing if there is none."""
    if (folder := claimed_sweep()) is None:
        return
    overrides = {path.parent.parent: _read(path) for path in folder.glob(f"**/{OVERRIDES}")}
    if not overrides:
        return
    left = [run for run in overrides if not _is_finished(run)]
    lines = [f"Sweep: {len(overrides) - len(left)} of {len(overrides)} runs are finished in {shown(folder)}"]
    if left:
        common = set.intersection(*map(set, overrides.values()))
        for run in sorted(left, key=lambda run: (len(run.name), run.name))[:LISTED]:
            told = (hide_argument(override) for override in overrides[run] if override not in common)
            lines.append(f"not finished: {run.relative_to(folder)} ({', '.join(told)})")
        if len(left) > LISTED:
            lines.append(f"... and {len(left) - LISTED} more")
        lines.append(f"to go on: {SAME_SWEEP}")
    if len(left) < len(overrides):
        lines.append(f"compare: {compare_command([shown(folder)])}")
    print("\n  ".join(map(one_line, lines)))


def _read(path: Path) -> list[str]:
    return [str(override) for override in yaml.safe_load(path.read_text(encoding="utf-8"))]


def _is_finished(run: Path) -> bool:
    config = run / "config.yaml"
    return config.is_file() and finished_run(run, read_yaml_config(config)) is not None
