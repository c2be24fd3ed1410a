"""Make the table of the recipes on emoji: `python experiments/recipes/emoji.py [FOLDER [JUDGED]]`.

FOLDER has a run for each recipe and seed, FOLDER/RECIPE/SEED; JUDGED what `aaa.evaluate` found of some of them anew, in
JUDGED/RECIPE-SEED. The numbers go to emoji.csv, where those of runs that FOLDER no longer has stay; the table is made
of it, so that it can be made again without runs.
"""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scipy import stats

from aaa.reports.runs import Run, read_runs

NUMBERS = Path(__file__).parent / "emoji.csv"
PICTURES = 100  # of each kind that a run was judged by
BLOCKS = Path(__file__).parent / "emoji_blocks.csv"  # of docs/emoji.md: other blocks in as many seconds
PICTURES_OF_BLOCKS = 200
KINDS = ("seen", "held_out")
FIGURES = tuple(f"right_{kind}{what}" for kind in KINDS for what in ("", "_top5", "_distance"))


def read() -> list[dict[str, str]]:
    """What is in emoji.csv."""
    with NUMBERS.open(newline="") as file:
        return list(csv.DictReader(file))


def outcome(run: Run, judged: Path | None) -> dict[str, Any]:
    """What a run came to, as it was judged last."""
    recipe, seed = run.folder.parent.name, run.config["seed"]
    again = [] if judged is None else sorted((judged / f"{recipe}-{seed}").glob("*.json"))
    found = {f"quality/{name}": run.last(f"quality/{name}") for name in FIGURES}
    if again:
        found |= json.loads(again[-1].read_text(encoding="utf-8"))["metrics"]
    told = {"recipe": recipe, "seed": seed, "steps": run.last("step"), "samples": run.last("samples")}
    return told | {name: round(found[f"quality/{name}"], 4) for name in FIGURES}


def lines(rows: list[dict[str, str]]) -> Iterator[str]:
    """The table as Markdown, the most right pictures first."""
    yield "| recipe | steps | pictures seen | seeds | nearest is right, of prompts trained on | of held-out ones |"
    yield "| --- | --- | --- | --- | --- | --- |"
    recipes = {name: [row for row in rows if row["recipe"] == name] for name in {row["recipe"] for row in rows}}
    for name, runs in sorted(recipes.items(), key=lambda item: (-_mean(item[1], "right_seen_top5"), item[0])):
        cells = [_shares(runs, kind) for kind in KINDS]
        first = runs[0]
        yield f"| `{name}` | {int(first['steps']):,} | {int(first['samples']):,} | {len(runs)} | {' | '.join(cells)} |"


def lines_of_blocks() -> Iterator[str]:
    """The table of docs/emoji.md on other blocks, the most right pictures first."""
    with BLOCKS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    kinds_told = "trained on, held out, trained on and alike"
    yield f"| | steps | seeds | nearest is the right one: {kinds_told} | of all | among the nearest five |"
    yield "| --- | --- | --- | --- | --- | --- |"
    kinds = ("seen", "held_out", "seen_alike")
    settings = {name: [row for row in rows if row["setting"] == name] for name in {row["setting"] for row in rows}}
    right = {name: sum(_mean(runs, f"right_{kind}") for kind in kinds) / len(kinds) for name, runs in settings.items()}
    for name, runs in sorted(settings.items(), key=lambda item: -right[item[0]]):
        count = PICTURES_OF_BLOCKS * len(kinds) * len(runs)
        low, high = stats.binomtest(round(right[name] * count), count).proportion_ci(method="wilson")
        near = sum(_mean(runs, f"right_{kind}_top5") for kind in kinds) / len(kinds)
        shares = ", ".join(f"{100 * _mean(runs, f'right_{kind}'):.0f}%" for kind in kinds)
        yield (
            f"| `{name}` | {int(runs[0]['steps']):,} | {len(runs)} | {shares} | {100 * right[name]:.0f}% "
            f"({100 * low:.0f} to {100 * high:.0f}) | {100 * near:.0f}% |"
        )


def _mean(runs: list[dict[str, str]], key: str) -> float:
    return sum(float(run[key]) for run in runs) / len(runs)


def _shares(runs: list[dict[str, str]], kind: str) -> str:
    right, near = _mean(runs, f"right_{kind}"), _mean(runs, f"right_{kind}_top5")
    count = PICTURES * len(runs)
    low, high = stats.binomtest(round(right * count), count).proportion_ci(method="wilson")
    distance = _mean(runs, f"right_{kind}_distance")
    return f"{100 * right:.1f}% [{100 * low:.1f}, {100 * high:.1f}]; nearest five {100 * near:.1f}%; {distance:.2f}"


def main() -> None:
    """Read runs if there are any, and print the table."""
    if len(sys.argv) > 1:
        judged = Path(sys.argv[2]) if len(sys.argv) > 2 else None
        runs = [run for run in read_runs([Path(sys.argv[1])]) if run.last("quality/right_seen") is not None]
        found = {(row["recipe"], str(row["seed"])): row for row in [*read(), *(outcome(run, judged) for run in runs)]}
        rows = [found[key] for key in sorted(found)]
        with NUMBERS.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    print("\n".join(lines(read())), "\n".join(lines_of_blocks()), sep="\n\n")


if __name__ == "__main__":
    main()
