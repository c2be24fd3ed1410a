"""Run rows of the ledger: `python experiments/ledger/run.py [ROW ...] [KEY=VALUE ...] [--folder outputs/ledger]`.

Without a row all of ledger.yaml are run, at equal FLOPs; with `--emoji` the rows of emoji.yaml, on emoji; with
`--seconds STEPS` either in the time that so many steps of the baseline take, as cost.py has measured it; with
`--drawing` the rows of drawing.yaml. What is finished is skipped, so that the same command goes on with what was
stopped. Each row is a command of its own, which is shown.
"""

import argparse
import csv
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
LEDGER, EMOJI, DRAWING = "ledger", "emoji", "drawing"  # lists of rows
EXPERIMENTS = {LEDGER: "ledger", EMOJI: "ledger_openmoji"}  # that the rows of a list add to
COSTS = {LEDGER: HERE / "costs.csv", EMOJI: HERE / "costs_emoji.csv"}  # what cost.py has measured of them
# In the ledger's folder:
EQUAL_FLOPS, EQUAL_SECONDS = {LEDGER: "training", EMOJI: "emoji"}, {LEDGER: "seconds", EMOJI: "emoji_seconds"}
TRAINED = "trained"  # in the ledger's folder: the runs that rows of drawing.yaml draw with
# A third of the default's length: four of five pictures are right then, so that a way to draw may gain or lose.
DRAWN_WITH = [
    "budget.flops=2.4e12",
    "lr_scheduler.warmup_steps=30",
    "trainer.save_every_steps=230",
    "checkpoint.keep_last=3",
    "evaluation.num_images=16",
    "logger=none",
]
JUDGED = ["evaluation=shapes", "evaluation.num_images=256", "steps=10"]


def rows_of(name: str) -> dict[str, dict[str, Any]]:
    """The rows of a list, by name."""
    rows: dict[str, dict[str, Any]] = yaml.safe_load((HERE / f"{name}.yaml").read_text(encoding="utf-8"))
    return rows


def training(folder: Path, experiment: str, added: Sequence[str], extra: Sequence[str]) -> list[str]:
    """The command that trains an experiment with what a row adds, once a seed, in a folder."""
    sweep = [f"hydra.sweep.dir={folder.absolute()}", "sweep.resume=true"]
    return ["aaa.train", "-m", f"+experiment={experiment}", *added, *extra, *sweep]


def drawing(row: Path, runs: Sequence[Path], added: Sequence[str], extra: Sequence[str]) -> Iterator[list[str]]:
    """The commands that judge what runs draw in a way; a row that names its run needs one for each."""
    models = [newest_checkpoint(run) if "weights=raw" in added else run for run in runs]
    settings = merged([*JUDGED, *extra, *added])
    if not any("{run}" in text for text in added):
        yield ["aaa.evaluate", "-m", f"model={','.join(map(str, models))}", *settings, f"out={row}", hydra_in(row)]
        return
    for place, model in enumerate(models):
        own = [text.replace("{run}", str(runs[place])) for text in settings]
        yield ["aaa.evaluate", f"model={model}", *own, f"out={row / str(place)}"]


def merged(settings: Iterable[str]) -> list[str]:
    """Of settings of one key the last."""
    return list({text.partition("=")[0]: text for text in settings}.values())


def hydra_in(row: Path) -> str:
    """Where Hydra is to write down what it swept over."""
    return f"hydra.sweep.dir={row}"


def newest_checkpoint(run: Path) -> Path:
    """Of a run."""
    return max((run / "checkpoints").glob("step-*"))


def call(command: Sequence[str]) -> bool:
    """Show a command and run it; whether it came to a good end."""
    print("$ python -m", shlex.join(command), flush=True)
    return subprocess.run([sys.executable, "-m", *command], check=False).returncode == 0


def draw(folder: Path, names: Sequence[str], extra: Sequence[str]) -> list[str]:
    """Train what is drawn with, draw each way, and return the rows that failed."""
    rows = rows_of(DRAWING)
    if not call(training(folder / TRAINED, EXPERIMENTS[LEDGER], DRAWN_WITH, [])):
        return [TRAINED]
    runs = sorted(path.parent.parent for path in (folder / TRAINED).glob("*/model/config.json"))
    failed = []
    for name in names or rows:
        row = folder.absolute() / DRAWING / name
        done = sum(1 for _ in row.glob("*/*.json"))
        added = shlex.split(rows[name]["add"])
        if done < len(runs):
            came_through = [call(command) for command in drawing(row, runs, added, extra)]
            failed += [] if all(came_through) else [name]
    return failed


def train(folder: Path, names: Sequence[str], extra: Sequence[str], listed: str = LEDGER) -> list[str]:
    """Train each row of a list at equal FLOPs, and return those that failed."""
    return train_each(folder / EQUAL_FLOPS[listed], {name: [] for name in names or rows_of(listed)}, extra, listed)


def train_as_long(
    folder: Path, names: Sequence[str], extra: Sequence[str], steps: int, listed: str = LEDGER
) -> list[str]:
    """Train each row of a list as long as the baseline takes for so many steps, and return those that failed."""
    wanted, shares = names or [*rows_of(listed)], read_costs(COSTS[listed])
    if unknown := [name for name in wanted if name not in shares]:
        ask = ["python", "experiments/ledger/cost.py", *(["--emoji"] if listed == EMOJI else []), *unknown]
        sys.exit(f"{COSTS[listed]} does not say what these cost: {shlex.join(ask)}")
    own = {name: ["budget.flops=null", f"trainer.max_steps={round(steps / shares[name][0])}"] for name in wanted}
    return train_each(folder / EQUAL_SECONDS[listed], own, extra, listed)


def train_each(folder: Path, own: Mapping[str, Sequence[str]], extra: Sequence[str], listed: str = LEDGER) -> list[str]:
    """Train rows of a list, each with settings of its own, and return those that failed."""
    rows, experiment = rows_of(listed), EXPERIMENTS[listed]
    return [
        name
        for name, settings in own.items()
        if not call(training(folder / name, experiment, [*shlex.split(rows[name]["add"]), *settings], extra))
    ]


def read_costs(path: Path) -> dict[str, tuple[float, float]]:
    """Of each row that cost.py has measured: time and FLOPs of a step, the baseline's being 1."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {line["row"]: (float(line["time"]), float(line["flops"])) for line in csv.DictReader(file)}


def main() -> None:
    """Run what is asked for; the exit code is 1 if a row failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", help="rows, and settings KEY=VALUE that all of them get")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--emoji", dest="listed", action="store_const", const=EMOJI, help="rows of emoji.yaml")
    how.add_argument("--drawing", dest="listed", action="store_const", const=DRAWING, help="rows of drawing.yaml")
    parser.add_argument("--seconds", type=int, metavar="STEPS", help="as long as so many steps of the baseline take")
    parser.add_argument("--folder", type=Path, default=Path("outputs/ledger"))
    parser.set_defaults(listed=LEDGER)
    arguments = parser.parse_intermixed_args()
    names = [word for word in arguments.what if "=" not in word]
    extra = [word for word in arguments.what if "=" in word]
    known = rows_of(arguments.listed)
    if unknown := [name for name in names if name not in known]:
        parser.error(f"no such row: {', '.join(unknown)}. There is: {', '.join(known)}.")
    if arguments.listed == DRAWING:
        if arguments.seconds is not None:
            parser.error("--drawing trains nothing that --seconds could be of.")
        failed = draw(arguments.folder, names, extra)
    elif arguments.seconds is not None:
        failed = train_as_long(arguments.folder, names, extra, arguments.seconds, arguments.listed)
    else:
        failed = train(arguments.folder, names, extra, arguments.listed)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
