"""The past of a run that branches off another one's checkpoint: what that one had written down until then."""

import shutil
from pathlib import Path
from typing import Any

from aaa.run.going_on import Before
from aaa.tracking.files import OF_A_STEP, cannot_write, replace_text, step_in_name
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
    for name in NUMBERED:
        for path in sorted((before.run / name).glob(f"{OF_A_STEP}*")):
            if step_in_name(path) <= step:
                _copy(path, folder / name / path.name)
    for name in (ODD_STEPS, METRICS):  # the last says that all is there
        rows = [row for row in read_metrics(before.run / name) if row["step"] <= step]
        if rows:
            replace_text(folder / name, "".join(to_json(row) + "\n" for row in rows))
    return read_metrics(folder / METRICS)


def _copy(path: Path, to: Path) -> None:
    try:
        to.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, to)
    except OSError as error:
        raise cannot_write(to, error) from None
