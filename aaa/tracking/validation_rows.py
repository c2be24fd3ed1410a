"""The loss of every row of the validation table, kept so that two runs can be compared row by row."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from aaa.tracking.files import OF_A_STEP, cannot_write, replace_text
from aaa.tracking.finite_json import as_number, to_json

FOLDER = "validation"  # in a run folder


@dataclass(frozen=True)
class ValidationRows:
    """One validation of a run.

    Attributes:
        step: that it was made after.
        table: digest of the validation table: losses by tables that differ in it and in content cannot be compared.
        records: key of each row's record.
        sigmas: noise level of each row.
        losses: of each row, by the averaged weights where there are any.
        content: hash of what the table's rows are, to the bit; None of runs from before it was kept.
    """

    step: int
    table: str
    records: Sequence[str]
    sigmas: Sequence[float]
    losses: Sequence[float]
    content: str | None = None

    def by_record(self) -> dict[str, float]:
        """Mean loss of each record: its rows share a picture, and are no independent trials."""
        sums: dict[str, list[float]] = {}
        for record, loss in zip(self.records, self.losses, strict=True):
            sums.setdefault(record, []).append(loss)
        return {record: sum(losses) / len(losses) for record, losses in sums.items()}


def write_rows(run: Path, rows: ValidationRows) -> None:
    """Write `validation/step-00000600.json` into a run folder.

    Raises:
        UserError: if it cannot be written.
    """
    path = run / FOLDER / f"step-{rows.step:08d}.json"
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from None
    replace_text(path, to_json(asdict(rows)))


def newest_rows(run: Path, up_to_step: int) -> ValidationRows | None:
    """The last validation of a run that can be read; None if there is none.

    Args:
        run: its folder.
        up_to_step: where the run's metrics end. A run that was taken back to a checkpoint has later rows lying there.
    """
    for path in sorted((run / FOLDER).glob(f"{OF_A_STEP}.json"), reverse=True):
        try:
            rows = ValidationRows(**json.loads(path.read_text(encoding="utf-8")))
            rows = replace(rows, losses=[_number(loss) for loss in rows.losses])
            if len(rows.records) == len(rows.sigmas) == len(rows.losses) > 0 and rows.step <= up_to_step:
                return rows
        except (OSError, ValueError, TypeError, RecursionError):
            continue  # of a run that is just writing it, or damaged: the one before says as much
    return None


def _number(loss: Any) -> float:
    """A loss as it was written.

    Raises:
        ValueError: if it is no number.
    """
    number = as_number(loss)
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ValueError(f"{loss!r} is no number")
    return number
