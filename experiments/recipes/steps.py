"""How many steps each recipe takes in the same time, measured in turn: python experiments/recipes/steps.py

A machine that does other things too is slow for all of them alike then. What a run finds to fit into its budget of
seconds when it starts may be off by a factor 2 there.
"""

import argparse
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

RECIPES = ("recipe_tutorial", "recipe_prx", "recipe_speedrundit", "recipe_minit2i", "recipe_ours")
PROMPT_TOKENS = 14  # of the longest of 32 prompts of shapes
CPU = torch.device("cpu")


class Timed:
    """A recipe whose steps are timed a few at a time."""

    def __init__(self, name: str) -> None:
        self.config = compose([f"+experiment={name}"])
        AcceleratorState._reset_state(reset_partial_state=True)  # their precisions are not the same
        precision = choose_precision(self.config.trainer.precision, CPU)
        self.subject: Subject = make_subject(
            self.config, "cpu", precision=precision, compiled=False, prompt_tokens=PROMPT_TOKENS
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
    parser.add_argument("--ours", type=int, default=1140, help="steps of recipe_ours: 120 s of a quiet machine")
    arguments = parser.parse_args()
    tune_for("cpu")
    recipes = {name: Timed(name) for name in RECIPES}
    for _ in range(1 + arguments.rounds):
        for recipe in recipes.values():
            recipe.steps(128)
    step = {name: median(recipe.took[1:]) for name, recipe in recipes.items()}
    for name, took in step.items():
        share = took / step["recipe_ours"]
        print(f"{name}: {1000 * took:.1f} ms a step, {share:.3f} of ours, {round(arguments.ours / share)} steps")


if __name__ == "__main__":
    main()
