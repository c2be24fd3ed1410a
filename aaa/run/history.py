"""The past of a run that branches off another one's checkpoint: what that one had written down until then."""

import shutil
from pathlib import Path
from typing import Any

from aaa.run.going_on import Before
from aaa.tracking.files import OF_A_STEP, cannot_write, replace_text
from aaa.tracking.finite_json import to_json
from aaa.tracking.tracker import METRICS, ODD_STEPS, read_metrics

NUMBERED = ("samples", "validation")  # folders with files of steps


def copy_history(before: Before, folder: Path) -> list[dict[str, Any]]:
    """Copy metrics, validation losses and sample grids up to the checkpoint, so that the run's curves are whole.

    Args:
        before: the checkpoint, and the run that it is of.
        folder: of the run that branches off; where it has rows already, they stay.

    Returns:
        The rows of metrics that were copied.

    Raises:
        UserError: if something cannot be written.
    """
    if (folder / METRICS).is_file():
        return []
    step = before.state.step
    for name in (METRICS, ODD_STEPS):
        rows = [row for row in read_metrics(before.run / name) if row["step"] <= step]
        if rows:
            replace_text(folder / name, "".join(to_json(row) + "\n" for row in rows))
    for name in NUMBERED:
        for path in sorted((before.run / name).glob(f"{OF_A_STEP}*")):
            if int(path.name[len("step-") :][:8]) <= step:
                _copy(path, folder / name / path.name)
    return read_metrics(folder / METRICS)


def _copy(path: Path, to: Path) -> None:
    try:
        to.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, to)
    except OSError as error:
        raise cannot_write(to, error) from None
