"""Average a run's weights over another memory: `python -m aaa.average model=RUN memory=[0.05,0.1,0.2]`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import ListConfig

from aaa.cli import SAVED_MODEL, run
from aaa.errors import UserError
from aaa.saved.named_model import require_there

if TYPE_CHECKING:
    from omegaconf import DictConfig


def average(config: "DictConfig") -> None:
    """Write a folder like the run's model/ for each memory, and say how near each comes."""
    model, memories = Path(config.saved_model), _memories(config.memory)
    require_there(model)
    from rich.table import Table
    from rich.text import Text

    from aaa.saved.averages import make_averages  # with torch, which no error so far needs
    from aaa.tracking.console import LateDisplay, for_tables
    from aaa.tracking.printed import one_line

    made = make_averages(model, memories, LateDisplay("Averaging"))
    table = Table()
    for column in ("memory", "off by", "files"):
        table.add_column(column, justify="right")
    table.add_column("model", overflow="fold")
    for one in made:
        table.add_row(f"{one.memory:g}", f"{one.error:.1%}", str(one.files), Text(one_line(str(one.folder))))
    for_tables(sys.stdout).print(table)


def _memories(value: Any) -> list[float]:
    """The numbers that a key holds, one or several.

    Raises:
        UserError: if it holds anything else.
    """
    found = list(value) if isinstance(value, ListConfig) else [value]
    if not found or not all(isinstance(one, int | float) and not isinstance(one, bool) for one in found):
        raise UserError(f"memory={value}: must be a number, or several as [0.05,0.1,0.2].")
    return [float(one) for one in dict.fromkeys(found)]


def main() -> None:
    """Entry point of `aaa-average`."""
    run(average, "average", called=SAVED_MODEL)


if __name__ == "__main__":
    main()
