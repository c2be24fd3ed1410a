"""Compare runs without any server: `python -m aaa.compare RUN_OR_FOLDER...`."""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from aaa.errors import UserError
from aaa.tracking.printed import harmless, one_line, print_anything

if TYPE_CHECKING:
    from aaa.reports.runs import Run

WATCH_SECONDS = 2.0  # from one look at the runs to the next
POLL_SECONDS = 0.1  # from one look for Ctrl-C to the next


def main() -> None:
    """Entry point of `aaa-compare`."""
    parser = argparse.ArgumentParser(prog="python -m aaa.compare", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders, or folders of them such as outputs/NAME")
    parser.add_argument("--html", type=Path, default=Path("compare.html"), help="where to write the page")
    parser.add_argument("--curves", type=Path, default=Path("curves.png"), help="where to draw the loss curves")
    parser.add_argument("--map", type=Path, default=Path("map.png"), help="where to draw loss by two settings, if any")
    parser.add_argument("--scaling", type=Path, default=Path("scaling.png"), help="where to draw loss by size, if any")
    parser.add_argument("--baseline", help="run, or setting such as 'depth=2 qk_norm=false', to compare with")
    parser.add_argument("--csv", type=Path, help="also write the table as CSV")
    parser.add_argument("--json", type=Path, help="also write the table as JSON")
    parser.add_argument("--wandb", action="store_true", help="also save a view of these runs on W&B's site")
    parser.add_argument("--watch", action="store_true", help="only show the table, again and again while runs go on")
    arguments = parser.parse_args()
    print_anything()
    try:
        watch(arguments.runs) if arguments.watch else compare(arguments)
    except UserError as error:
        print(f"error: {harmless(str(error))}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:  # `| head` has read enough; nothing more can be said to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        named = harmless(str(error.filename or "what is printed, or the working directory,"))
        print(f"error: {named} cannot be read or written ({error.strerror}).", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def compare(arguments: argparse.Namespace) -> None:
    """Print the table, draw the curves, write the page and what else is asked for."""
    from aaa.reports.curves import draw_curves
    from aaa.reports.effects import effects
    from aaa.reports.heat_map import draw_heat_maps
    from aaa.reports.page import write_page
    from aaa.reports.picture_file import picture_file
    from aaa.reports.runs import read_runs
    from aaa.reports.scaling import draw_scaling
    from aaa.reports.table import as_rows, comparison, effects_table, verdicts
    from aaa.tracking.console import for_tables

    curves = picture_file("--curves", arguments.curves)
    by_two = picture_file("--map", arguments.map)
    by_size = picture_file("--scaling", arguments.scaling)
    runs = read_runs(arguments.runs)
    for path in filter(None, (curves, by_two, by_size, arguments.html, arguments.csv, arguments.json)):
        path.parent.mkdir(parents=True, exist_ok=True)
    console = for_tables(sys.stdout)
    console.print(comparison(runs, console.width))
    if (judged := verdicts(runs, arguments.baseline, console.width)) is not None:
        console.print(judged)
    found, unanswered = effects(runs, arguments.baseline)
    if (alone := effects_table(found, console.width)) is not None:
        console.print(alone)
    for line in unanswered:
        console.print(one_line(line), markup=False)
    draw_curves(runs, curves)
    mapped = draw_heat_maps(runs, by_two)
    laws = draw_scaling(runs, by_size)
    write_page(runs, arguments.html, arguments.baseline)
    if arguments.csv is not None:
        _write_csv(runs, arguments.csv)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(as_rows(runs), indent=2, allow_nan=False), encoding="utf-8")
    console.print(harmless(f"Loss curves: {curves}" + (f"\nBy two settings: {by_two}" if mapped else "")), markup=False)
    if laws:
        console.print(f"By size: {by_size}", *(f"  {law}" for law in laws), sep="\n", markup=False, soft_wrap=True)
    for path, drawn in ((by_two, mapped), (by_size, laws)):
        if not drawn and path.is_file():
            console.print(harmless(f"Of an earlier comparison: {path}"), markup=False)
    for path in filter(None, (arguments.csv, arguments.json)):
        console.print(harmless(f"Table: {path}"), markup=False)
    console.print(harmless(f"Page: {arguments.html}"), markup=False)
    if arguments.wandb:
        from aaa.reports.wandb_view import save_view

        console.print(save_view(runs, arguments.html.with_name("wandb_view.json")), markup=False)


def watch(paths: Sequence[Path]) -> None:
    """Show the table until it is left with Ctrl-C.

    The signal is only noted when it comes: as an exception it could come up within an import or a finalizer, which
    swallow it. A second one ends the process at once.
    """
    noted: list[int] = []

    def note(signum: int, _frame: FrameType | None) -> None:
        if noted:
            os._exit(128 + signum)
        noted.append(signum)

    signal.signal(signal.SIGINT, note)
    from rich.live import Live

    from aaa.reports.runs import read_runs
    from aaa.reports.table import comparison
    from aaa.tracking.console import for_tables

    console = for_tables(sys.stdout)
    # No thread draws it: one would be left behind by `| head`, or hold the terminal when Ctrl-C comes.
    with Live(comparison(read_runs(paths), console.width), console=console, auto_refresh=False) as live:
        live.refresh()
        looked = time.monotonic()
        while not noted:
            time.sleep(POLL_SECONDS)
            if time.monotonic() - looked >= WATCH_SECONDS and not noted:
                live.update(comparison(read_runs(paths), console.width), refresh=True)
                looked = time.monotonic()
    sys.exit(128 + noted[0])


def _write_csv(runs: "list[Run]", path: Path) -> None:
    import csv

    from aaa.reports.table import as_rows

    rows = as_rows(runs)
    # A folder's name may be bytes that are no text: they are written as they are.
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
