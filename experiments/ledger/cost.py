"""What a step of rows costs beside the baseline's: `python experiments/ledger/cost.py [ROW ...]`.

Processor time of one thread, the least of some steps that take turns: a busy machine has that too. It goes to
costs.csv, by which `run.py --seconds` gives each row as many steps as take as long as the baseline's.
"""

import csv
import shlex
import sys
import time
from pathlib import Path

import torch
import yaml
from accelerate.state import AcceleratorState

from aaa.benchmarks.subject import Subject, make_subject
from aaa.config.compose import compose

BASELINE = "baseline"
STEPS = 8
COSTS = Path(__file__).with_name("costs.csv")


def subject(added: str) -> tuple[Subject, int]:
    """What trains as a row does, on made-up latents, and its batch size."""
    config = compose(["+experiment=ledger", *shlex.split(added), "logger=none"])
    AcceleratorState._reset_state(reset_partial_state=True)  # their precisions are not the same
    made = make_subject(config, "cpu", precision=config.trainer.precision, compiled=False, tuned=False)
    return made, config.trainer.batch_size


def read() -> dict[str, tuple[float, float]]:
    """Of each row that was measured: time and FLOPs of a step, the baseline's being 1."""
    if not COSTS.exists():
        return {}
    with COSTS.open(newline="", encoding="utf-8") as file:
        return {line["row"]: (float(line["time"]), float(line["flops"])) for line in csv.DictReader(file)}


def write(costs: dict[str, tuple[float, float]]) -> None:
    """Put these beside what is in costs.csv of other rows."""
    kept = read() | costs
    with COSTS.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["row", "time", "flops"])
        writer.writerows([row, f"{took:.3f}", f"{flops:.3f}"] for row, (took, flops) in kept.items())


def main() -> None:
    """Print seconds and FLOPs of a step of each row, as shares of the baseline's."""
    torch.set_num_threads(1)
    rows = yaml.safe_load(Path(__file__).with_name("ledger.yaml").read_text(encoding="utf-8"))
    subjects = {row: subject(rows[row]["add"]) for row in dict.fromkeys([BASELINE, *(sys.argv[1:] or rows)])}
    least = dict.fromkeys(subjects, float("inf"))
    for step in range(1 + STEPS):
        for row, (made, batch_size) in subjects.items():
            began = time.process_time()
            made.bare_step(batch_size, step)
            if step:  # the first one warms up
                least[row] = min(least[row], time.process_time() - began)
    base = subjects[BASELINE][0].flops
    write({row: (least[row] / least[BASELINE], made.flops / base) for row, (made, _) in subjects.items()})
    print(f"A step of {BASELINE} took {1000 * least[BASELINE]:.0f} ms.")
    print("| row | processor time of a step | FLOPs |", "| --- | --- | --- |", sep="\n")
    for row, (took, flops) in read().items():
        print(f"| {row} | x {took:.2f} | x {flops:.2f} |")


if __name__ == "__main__":
    main()
