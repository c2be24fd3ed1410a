"""Compare runs without any server: `python -m aaa.compare RUN_OR_FOLDER...`."""

import argparse
import sys
from pathlib import Path

from aaa.errors import UserError


def main() -> None:
    """Entry point of `aaa-compare`."""
    parser = argparse.ArgumentParser(prog="python -m aaa.compare", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders, or folders of them such as outputs/NAME")
    parser.add_argument("--curves", type=Path, default=Path("curves.png"), help="where to draw the loss curves")
    arguments = parser.parse_args()
    from rich.console import Console

    from aaa.reports.curves import draw_curves
    from aaa.reports.runs import read_runs
    from aaa.reports.table import comparison

    try:
        runs = read_runs(arguments.runs)
        console = Console(width=None if sys.stdout.isatty() else 200)
        console.print(comparison(runs))
        draw_curves(runs, arguments.curves)
        console.print(f"Loss curves: {arguments.curves}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
