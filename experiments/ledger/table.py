"""Make the ledger's table and picture: `python experiments/ledger/table.py [FOLDER]`, the folder that run.py ran in.

The numbers of each run go to runs.csv, where those of runs that the folder no longer has stay; tables and pictures are
made of that, so that without a folder they are made again of what is there. The tables are printed as Markdown.
"""

import csv
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import matplotlib as mpl
import yaml
from scipy import stats

from aaa.errors import UserError
from aaa.reports.paired import Difference, Setting, difference
from aaa.reports.runs import Run, read_runs
from aaa.reports.same_tables import shared_digests
from aaa.tracking.validation_rows import ValidationRows

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

HERE = Path(__file__).parent
RUNS = HERE / "runs.csv"
BASELINE = "baseline"
# At equal FLOPs, at equal seconds, both on emoji, without training.
TRAINING, SECONDS, EMOJI, EMOJI_SECONDS, DRAWING = "training", "seconds", "emoji", "emoji_seconds", "drawing"
ON_EMOJI = (EMOJI, EMOJI_SECONDS)
TRAINED = "trained"  # the runs that are drawn with, numbered as what was drawn is
LONGEST = 50  # letters that a picture has room for beside a row
FAR = 1000  # percent, or points: beside it nothing else can be told apart
LISTS = {TRAINING: "ledger", SECONDS: "ledger", EMOJI: "emoji", EMOJI_SECONDS: "emoji", DRAWING: "drawing"}
RIGHT = "held-out right"
NEAR = "among the nearest five"  # real pictures is the right one, of an emoji, for seen and held-out prompts


@dataclass(frozen=True)
class Outcome:
    """What came out of a run, or of a way to draw with it.

    Attributes:
        kind: of `LISTS`.
        row: of the ledger.
        seed: of the run.
        steps, flops: of its training.
        table: digest of the validation table; losses of tables that differ in it and in content cannot be compared.
        content: hash of what is in the table; "" of runs that did not write it down.
        loss: of validation.
        pictures: drawn for held-out pairs, and as many for seen ones.
        seen, held_out: share of them that is right; of emoji, that has the right one among the nearest five.
    """

    kind: str
    row: str
    seed: int
    steps: int
    flops: float
    table: str
    content: str
    loss: float
    pictures: int
    seen: float
    held_out: float


def of_training(folder: Path, kind: str) -> Iterator[Outcome]:
    """The finished runs of each row of a kind."""
    if not any((folder / kind).rglob("metrics.jsonl")):
        return
    judged = "quality/right_{}_top5" if kind in ON_EMOJI else "quality/{}"
    for run in read_runs([folder / kind]):
        rows = run.validation
        held_out, seen, flops = map(run.last, (judged.format("held_out"), judged.format("seen"), "flops"))
        if rows is None or held_out is None or seen is None or flops is None:
            continue  # it is still going on
        loss = sum(rows.losses) / len(rows.losses)
        pictures = run.config["evaluation.num_images"]
        row, seed = run.folder.parent.name, run.config["seed"]
        made = rows.step, flops, rows.table, rows.content or ""
        yield Outcome(kind, row, seed, *made, loss, pictures, seen, held_out)


def of_drawing(folder: Path) -> Iterator[Outcome]:
    """What `aaa.evaluate` left of each way to draw."""
    for path in sorted(folder.glob(f"{DRAWING}/*/*/*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        (run,) = read_runs([folder / TRAINED / path.parent.name])
        told = dict(setting.split("=", 1) for setting in record["settings"])
        metrics, flops = record["metrics"], run.last("flops")
        assert flops is not None
        yield Outcome(
            kind=DRAWING,
            row=path.parent.parent.name,
            seed=run.config["seed"],
            steps=int(run.last("step") or 0),
            flops=flops,
            table=record["table"],
            content=record.get("content") or "",
            loss=metrics["val/loss"],
            pictures=int(told["evaluation.num_images"]),
            seen=metrics["quality/seen"],
            held_out=metrics["quality/held_out"],
        )


def keep(outcomes: Iterable[Outcome]) -> None:
    """Put these into runs.csv, in place of what it has of the same runs.

    A run that did not write down the content of its table has that of another that had the same one.
    """
    both = [*(read() if RUNS.exists() else []), *outcomes]
    contents = {one.table: one.content for one in both if one.content}
    known = {(one.kind, one.row, one.seed): one for one in both}
    write([replace(known[key], content=contents.get(known[key].table, "")) for key in sorted(known)])


def write(outcomes: Sequence[Outcome]) -> None:
    """Write runs.csv."""
    with RUNS.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Outcome)])
        writer.writeheader()
        writer.writerows(asdict(outcome) for outcome in outcomes)


def read() -> list[Outcome]:
    """Read runs.csv."""
    with RUNS.open(newline="", encoding="utf-8") as file:
        return [
            Outcome(**{field.name: field.type(line[field.name]) for field in fields(Outcome)})  # type: ignore[operator]
            for line in csv.DictReader(file)
        ]


def loss_difference(ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> Difference | None:
    """Of validation loss, paired by seed; None of one seed, or where the two were not validated on one table."""
    if len(ours) < 2:
        return None
    try:
        return difference(_setting(ours), _setting(theirs))
    except UserError:
        return None


def _setting(outcomes: Sequence[Outcome]) -> Setting:
    """Runs of a row as `aaa.compare` has them."""
    runs = [Run(Path(), str(one.seed), {"seed": one.seed}, []) for one in outcomes]
    return Setting(outcomes[0].row, runs, [_validation(one) for one in outcomes])


def _validation(one: Outcome) -> ValidationRows:
    return ValidationRows(one.steps, one.table, ["all"], [0.0], [one.loss], one.content or None)


def right_pictures(outcomes: Sequence[Outcome]) -> tuple[int, int]:
    """How many are right, of how many: of held-out pairs; of emoji of seen ones too, as few are right there."""
    shares = [
        (share, one.pictures)
        for one in outcomes
        for share in ((one.held_out, one.seen) if one.kind in ON_EMOJI else (one.held_out,))
    ]
    return sum(round(share * pictures) for share, pictures in shares), sum(pictures for _, pictures in shares)


def share_difference(ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> Difference:
    """Of the share of right pictures, over pictures: Newcombe's score interval (1998, method 10)."""
    ends = []
    for right, of in (right_pictures(ours), right_pictures(theirs)):
        interval = stats.binomtest(right, of).proportion_ci(method="wilson")
        ends.append((right / of, interval.low, interval.high))
    (p, low, high), (q, q_low, q_high) = ends
    distance = p - q
    least = distance - math.hypot(p - low, q_high - q)
    most = distance + math.hypot(high - p, q - q_low)
    return Difference(distance, least, most, "pictures", right_pictures(ours)[1])


@dataclass(frozen=True)
class Line:
    """A row of the table.

    Attributes:
        row: its name.
        said: what it says of itself in the list of rows.
        outcomes: of its runs.
        loss, share: differences from the baseline; None where there are none.
    """

    row: str
    said: dict[str, str]
    outcomes: Sequence[Outcome]
    loss: Difference | None
    share: Difference | None


def lines(outcomes: Sequence[Outcome], kind: str) -> list[Line]:
    """The rows of a kind that were run, in the order of their list, after the baseline; none without it.

    Rows of other seeds than the baseline's say nothing beside it.
    """
    rows = yaml.safe_load((HERE / f"{LISTS[kind]}.yaml").read_text(encoding="utf-8"))
    shared = shared_digests(map(_validation, outcomes))
    judged = [replace(one, table=shared[one.table]) for one in outcomes]
    by_row = {row: [one for one in judged if (one.kind, one.row) == (kind, row)] for row in rows}
    theirs = by_row[BASELINE]
    found = []
    for row, ours in by_row.items():
        if ours and row == BASELINE:
            found.append(Line(row, rows[row], ours, None, None))
        elif ours and (same := [one for one in theirs if one.seed in {own.seed for own in ours}]):
            found.append(Line(row, rows[row], ours, loss_difference(ours, same), share_difference(ours, same)))
    return found


def as_markdown(kind: str, found: Sequence[Line]) -> str:
    """The table of a kind."""
    base = _mean([one.loss for one in found[0].outcomes])
    told = ["row", "adds", "seeds", "loss", "less the baseline's [95%]", "in %"]
    told += [NEAR if kind in ON_EMOJI else RIGHT, "less [95%]", "published"]
    table = [f"| {' | '.join(told)} |", f"|{' --- |' * len(told)}"]
    for line in found:
        right, of = right_pictures(line.outcomes)
        loss, share = line.loss, line.share
        cells = [
            line.row,
            f"`{line.said['add']}`" if line.said["add"] else "",
            str(len(line.outcomes)),
            f"{_mean([one.loss for one in line.outcomes]):.4f}",
            "" if line.row == BASELINE else "-" if loss is None else str(loss),
            "" if loss is None else f"{100 * loss.mean / base:+.1f}",
            f"{right} of {of}{_of_these(line.outcomes) if kind in ON_EMOJI else ''}",
            "" if share is None else f"{100 * share.mean:+.0f} [{100 * share.low:+.0f}, {100 * share.high:+.0f}]",
            "; ".join(filter(None, [line.said["published"], line.said["source"]])),
        ]
        table.append(f"| {' | '.join(cells)} |")
    return "\n".join([f"{kind}:", "", *table, ""])


def _of_these(outcomes: Sequence[Outcome]) -> str:
    held_out = sum(round(one.held_out * one.pictures) for one in outcomes)
    return f" ({held_out} held out)"


def draw(kind: str, found: Sequence[Line]) -> None:
    """Loss and right pictures less the baseline's, a row each, with their intervals; ways to draw change no loss."""
    shown = sorted(found[1:], key=lambda line: -math.inf if line.loss is None else line.loss.mean)
    count = 1 if kind == DRAWING else 2
    size = (4 * count + 4, 1.4 + 0.32 * len(shown))
    figure, panels = plt.subplots(1, count, figsize=size, sharey=True, squeeze=False, constrained_layout=True)
    if kind != DRAWING:
        base = _mean([one.loss for one in found[0].outcomes])
        _dots(panels[0, 0], [line.loss for line in shown], 100 / base, lower_is_better=True)
        panels[0, 0].set_xlabel("validation loss, % of the baseline's")
    _dots(panels[0, -1], [line.share for line in shown], 100, lower_is_better=False)
    judged = f"pictures {NEAR}" if kind in ON_EMOJI else "right pictures of held-out pairs"
    panels[0, -1].set_xlabel(f"{judged}, percentage points")
    said = [line.said["add"] if 0 < len(line.said["add"]) <= LONGEST else line.row for line in shown]
    panels[0, 0].set_yticks(range(len(shown)), said, fontsize="small")
    panels[0, 0].set_ylim(len(shown) - 0.4, -0.6)
    figure.suptitle(f"Less the baseline, 95% intervals ({len(found[0].outcomes)} seeds)", fontsize="medium")
    figure.savefig(HERE / f"{kind}.png", dpi=110)


def _dots(panel: Axes, differences: Sequence[Difference | None], scale: float, *, lower_is_better: bool) -> None:
    """A dot and its interval for each difference that there is: blue where it is clearly better, red where worse."""
    for place, found in enumerate(differences):
        if found is None:
            continue
        better = (found.mean < 0) == lower_is_better
        color = "grey" if not found.is_clear else "tab:blue" if better else "tab:red"
        panel.plot([scale * found.low, scale * found.high], [place, place], color=color)
        panel.plot([scale * found.mean], [place], marker="o", color=color)
    if any(found is not None and scale * found.high > FAR for found in differences):  # of a loss that has diverged
        panel.set_xscale("symlog", linthresh=100)
    panel.axvline(0, color="black", linewidth=0.8)
    panel.grid(alpha=0.3)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def main() -> None:
    """Collect, print, draw."""
    if len(sys.argv) > 1:
        folder = Path(sys.argv[1])
        trained = [outcome for kind in LISTS if kind != DRAWING for outcome in of_training(folder, kind)]
        keep([*trained, *of_drawing(folder)])
    outcomes = read()
    for kind in LISTS:
        if len(found := lines(outcomes, kind)) > 1:
            print(as_markdown(kind, found))
            draw(kind, found)


if __name__ == "__main__":
    main()
