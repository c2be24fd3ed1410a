"""What a step of rows costs beside the baseline's: `python experiments/ledger/cost.py [ROW ...]`.

Processor time of one thread, the least of some steps that take turns: a busy machine has that too.
"""

import shlex
import sys
import time
from pathlib import Path

import torch
import yaml

from aaa.benchmarks.subject import Subject, make_subject
from aaa.config.compose import compose

BASELINE = "baseline"
STEPS = 8


def subject(added: str) -> tuple[Subject, int]:
    """What trains as a row does, on made-up latents, and its batch size."""
    config = compose(["+experiment=ledger", *shlex.split(added), "logger=none"])
    made = make_subject(config, "cpu", precision=config.trainer.precision, compiled=False, tuned=False)
    return made, config.trainer.batch_size


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
    print("| row | processor time of a step | FLOPs |", "| --- | --- | --- |", sep="\n")
    for row, (made, _) in subjects.items():
        flops = made.flops / subjects[BASELINE][0].flops
        print(f"| {row} | {1000 * least[row]:.0f} ms, x {least[row] / least[BASELINE]:.2f} | x {flops:.2f} |")


if __name__ == "__main__":
    main()
