"""How many steps each recipe takes in the same time, measured in turn: python experiments/recipes/steps.py

On emoji, behind that: --ours openmoji --prompt-tokens 32 --steps 1000 data=openmoji text_encoder=minilm. A machine that
does other things too is slow for all of them alike then. What a run finds to fit into its budget of seconds when it
starts may be off by a factor 2 there.
"""

import argparse
from collections.abc import Sequence
from statistics import median

import torch
from accelerate.state import AcceleratorState

from aaa.benchmarks.subject import Subject, make_subject
from aaa.config.compose import compose
from aaa.tracking.tracker import NoLogger
from aaa.training.precision import choose_precision
from aaa.training.progress import Progress
from aaa.training.timing import seconds
from aaa.training.tuning import tune_for

OTHERS = ("recipe_tutorial", "recipe_prx", "recipe_speedrundit", "recipe_minit2i")
CPU = torch.device("cpu")


class Timed:
    """A recipe whose steps are timed a few at a time."""

    def __init__(self, name: str, told: Sequence[str], prompt_tokens: int) -> None:
        self.config = compose([f"+experiment={name}", *told])
        AcceleratorState._reset_state(reset_partial_state=True)  # their precisions are not the same
        precision = choose_precision(self.config.trainer.precision, CPU)
        self.subject: Subject = make_subject(
            self.config, "cpu", precision=precision, compiled=False, prompt_tokens=prompt_tokens
        )
        self.progress, self.batch = Progress(), int(self.config.trainer.batch_size)
        self.took: list[float] = []

    def steps(self, samples: int) -> None:
        """Take as many as make so many samples, and note what one took."""
        count = max(2, samples // self.batch)
        until = self.progress.step + count

        def train() -> None:
            self.subject.train(self.config, self.progress, until, self.batch, NoLogger().log)

        self.took.append(seconds(train, CPU) / count)


def main() -> None:
    """Print seconds a step, and steps in the budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--ours", default="recipe_ours", help="the recipe that others are measured by")
    parser.add_argument("--steps", type=int, help="of ours; else as many as its config says")
    parser.add_argument("--prompt-tokens", type=int, default=14, help="of the longest of 32 prompts; as of shapes")
    parser.add_argument("told", nargs="*", help="overrides of each")
    arguments = parser.parse_args()
    tune_for("cpu")
    names = (*OTHERS, arguments.ours)
    recipes = {name: Timed(name, arguments.told, arguments.prompt_tokens) for name in names}
    for _ in range(1 + arguments.rounds):
        for recipe in recipes.values():
            recipe.steps(128)
    steps = arguments.steps or recipes[arguments.ours].config.trainer.max_steps
    step = {name: median(recipe.took[1:]) for name, recipe in recipes.items()}
    for name, took in step.items():
        share = took / step[arguments.ours]
        print(f"{name}: {1000 * took:.1f} ms a step, {share:.3f} of ours, {round(steps / share)} steps")


if __name__ == "__main__":
    main()
