"""What a step of rows costs beside the baseline's: `python experiments/ledger/cost.py [--emoji] [ROW ...]`.

Processor time of one thread, the least of some steps that take turns: a busy machine has that too. It goes to
costs.csv, of rows on emoji to costs_emoji.csv, by which `run.py --seconds` gives each row as many steps as take as long
as the baseline's.
"""

import argparse
import csv
import shlex
import time
from pathlib import Path

import torch
from accelerate.state import AcceleratorState
from run import COSTS, EMOJI, EXPERIMENTS, LEDGER, read_costs, rows_of

from aaa.benchmarks.subject import Subject, make_subject
from aaa.config.compose import compose

BASELINE = "baseline"
STEPS = 8


def subject(experiment: str, added: str) -> tuple[Subject, int]:
    """What trains as a row does, on made-up latents, and its batch size."""
    config = compose([f"+experiment={experiment}", *shlex.split(added), "logger=none"])
    AcceleratorState._reset_state(reset_partial_state=True)  # their precisions are not the same
    made = make_subject(config, "cpu", precision=config.trainer.precision, compiled=False, tuned=False)
    return made, config.trainer.batch_size


def write(costs: Path, measured: dict[str, tuple[float, float]]) -> None:
    """Put these beside what the file has of other rows."""
    kept = read_costs(costs) | measured
    with costs.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["row", "time", "flops"])
        writer.writerows([row, f"{took:.3f}", f"{flops:.3f}"] for row, (took, flops) in kept.items())


def main() -> None:
    """Print seconds and FLOPs of a step of each row, as shares of the baseline's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", help="of the list; all")
    parser.add_argument("--emoji", dest="listed", action="store_const", const=EMOJI, help="rows of emoji.yaml")
    parser.set_defaults(listed=LEDGER)
    arguments = parser.parse_args()
    costs, rows = COSTS[arguments.listed], rows_of(arguments.listed)
    torch.set_num_threads(1)
    wanted = dict.fromkeys([BASELINE, *(arguments.rows or rows)])
    subjects = {row: subject(EXPERIMENTS[arguments.listed], rows[row]["add"]) for row in wanted}
    least = dict.fromkeys(subjects, float("inf"))
    for step in range(1 + STEPS):
        for row, (made, batch_size) in subjects.items():
            began = time.process_time()
            made.bare_step(batch_size, step)
            if step:  # the first one warms up
                least[row] = min(least[row], time.process_time() - began)
    base = subjects[BASELINE][0].flops
    write(costs, {row: (least[row] / least[BASELINE], made.flops / base) for row, (made, _) in subjects.items()})
    print(f"A step of {BASELINE} took {1000 * least[BASELINE]:.0f} ms.")
    print("| row | processor time of a step | FLOPs |", "| --- | --- | --- |", sep="\n")
    for row, (took, flops) in read_costs(costs).items():
        print(f"| {row} | x {took:.2f} | x {flops:.2f} |")


if __name__ == "__main__":
    main()
