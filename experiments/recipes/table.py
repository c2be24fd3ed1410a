"""Make the tables and the picture of the recipes: `python experiments/recipes/table.py`.

`--seconds FOLDER` has runs of equal seconds, `--flops FOLDER` of equal FLOPs. The numbers of each run go to runs.csv,
its validation losses on the way to curves.csv, in place of what they have of the same recipe; tables and picture are
made of these, so that without a folder they are made again of what is there. The tables are printed as Markdown.
"""

import argparse
import csv
from collections.abc import Sequence
from math import inf, sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import matplotlib as mpl
from scipy import stats

from aaa.reports.runs import Run, read_runs

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

HERE = Path(__file__).parent
RUNS, CURVES, PICTURE = HERE / "runs.csv", HERE / "curves.csv", HERE / "recipes.png"
GROUP = "experiment"
EQUAL = {"seconds": "time", "flops": "FLOPs"}  # what all recipes had as much of, and how the picture calls it
Row = dict[str, str]


def write_numbers(runs: Sequence[Run], equal: str) -> None:
    """What came out of each run, and the losses on its way."""
    outcomes: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    finished = [run for run in runs if run.last("quality/held_out") is not None]
    for run in sorted(finished, key=lambda run: (run.choices[GROUP], run.config["seed"])):
        recipe, seed = run.choices[GROUP].removeprefix("recipe_"), run.config["seed"]
        steps = run.last("step")
        told = {"equal": equal, "recipe": recipe, "seed": seed}
        named = {"samples": "samples", "loss": "val/loss", "relative_loss": "val/loss_relative"}
        shares = {"seen": "quality/seen", "held_out": "quality/held_out"}
        outcomes.append(told | {"steps": steps} | {name: run.last(key) for name, key in (named | shares).items()})
        for step, relative in zip(*run.curve("step", "val/loss_relative"), strict=True):
            curves.append(told | {"step": step, "share": round(step / (steps or 1), 4), "relative_loss": relative})
    for path, rows in ((RUNS, outcomes), (CURVES, curves)):
        new = {(row["equal"], row["recipe"]) for row in rows}
        kept = [row for row in read_rows(path) if (row["equal"], row["recipe"]) not in new]
        both = sorted([*kept, *rows], key=lambda row: (list(EQUAL).index(row["equal"]), row["recipe"]))
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, both[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(both)


def read_rows(path: Path) -> list[Row]:
    """Rows of a file of numbers; none where there is no such file yet."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def read(path: Path, equal: str) -> dict[str, list[Row]]:
    """Rows of runs that had as much, by recipe."""
    rows = [row for row in read_rows(path) if row["equal"] == equal]
    return {
        name: [row for row in rows if row["recipe"] == name] for name in dict.fromkeys(row["recipe"] for row in rows)
    }


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean over seeds, and the ends of its 95% interval (Student's t); of one seed there is none."""
    middle = mean(values)
    if len(values) < 2:
        return middle, -inf, inf
    reach = float(stats.t.ppf(0.975, len(values) - 1)) * stdev(values) / sqrt(len(values))
    return middle, middle - reach, middle + reach


def in_percent(values: Sequence[float], most: float = 1.0) -> str:
    """Mean of what is between 0 and `most` with its interval, which ends there."""
    middle, low, high = interval(values)
    return f"{100 * middle:.0f}% [{100 * max(0, low):.0f}, {100 * min(most, high):.0f}]"


def table(by_recipe: dict[str, list[Row]]) -> str:
    """As Markdown, the most right pictures first."""
    lines = [
        "| recipe | steps | pictures seen | seeds | seen pairs right [95%] | held-out pairs right [95%] | loss [95%] |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, rows in sorted(by_recipe.items(), key=lambda item: -mean(float(row["held_out"]) for row in item[1])):
        numbers = {key: [float(row[key]) for row in rows] for key in ("seen", "held_out", "relative_loss")}
        steps, samples = int(rows[0]["steps"]), int(rows[0]["samples"])
        shares = f"{in_percent(numbers['seen'])} | {in_percent(numbers['held_out'])}"
        lines.append(
            f"| `recipe_{name}` | {steps:,} | {samples:,} | {len(rows)} | {shares} | "
            f"{in_percent(numbers['relative_loss'], inf)} |"
        )
    return "\n".join(lines)


def draw(equal: str, panels: Sequence[Axes], by_recipe: dict[str, list[Row]], curves: dict[str, list[Row]]) -> None:
    """Loss on the way, a line a seed, and right pictures at the end."""
    losses, shares = panels
    for number, (name, rows) in enumerate(curves.items()):
        for seed in dict.fromkeys(row["seed"] for row in rows):
            points = [
                (100 * float(row["share"]), 100 * float(row["relative_loss"])) for row in rows if row["seed"] == seed
            ]
            label = name if seed == rows[0]["seed"] else None
            losses.plot(*zip(*points, strict=True), color=f"C{number}", marker=".", label=label, alpha=0.8)
    losses.set(
        xlabel=f"training, % of the {EQUAL[equal]} that all have",
        ylabel="validation loss, % of what seeing no structure gives",
        yscale="log",
    )
    losses.grid(alpha=0.3)
    losses.legend()
    for number, rows in enumerate(by_recipe.values()):
        for place, (key, filled) in enumerate((("seen", "none"), ("held_out", f"C{number}"))):
            values = [100 * float(row[key]) for row in rows]
            at = [number + 0.2 * place - 0.1] * len(values)
            shares.scatter(at, values, edgecolors=f"C{number}", facecolors=filled, zorder=3)
    shares.set_xticks(range(len(by_recipe)), list(by_recipe))
    shares.set(ylabel="pictures right, %; hollow: seen pairs, filled: held out", ylim=(-3, 103))
    shares.grid(alpha=0.3)


def main() -> None:
    """Read folders of runs if any are named, print the tables, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for equal, called in EQUAL.items():
        parser.add_argument(f"--{equal}", type=Path, metavar="FOLDER", help=f"of runs that had the same {called}")
    arguments = vars(parser.parse_args())
    for equal in EQUAL:
        if (folder := arguments[equal]) is not None:
            write_numbers(read_runs([folder]), equal)
    known = {equal: by_recipe for equal in EQUAL if (by_recipe := read(RUNS, equal))}
    size = (12, 4.5 * len(known))
    figure, panels = plt.subplots(len(known), 2, figsize=size, squeeze=False, constrained_layout=True)
    for (equal, by_recipe), row in zip(known.items(), panels, strict=True):
        print(f"At equal {EQUAL[equal]}:", "", table(by_recipe), "", sep="\n")
        draw(equal, row, by_recipe, read(CURVES, equal))
    figure.savefig(PICTURE, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
