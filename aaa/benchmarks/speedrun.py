"""How long until held-out pictures are right: a recipe frozen on a day, and the default of today, seed by seed."""

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from aaa.benchmarks.commands import QUIET, in_folder, measure, typed
from aaa.benchmarks.counts import Count, Share
from aaa.benchmarks.report import Report
from aaa.errors import UserError
from aaa.reports.runs import Run, read_runs

METRIC = "quality/held_out"


class Look(NamedTuple):
    """What an evaluation in the middle of a run found.

    Attributes:
        seconds: of training until then, without those that evaluations took.
        samples: trained on until then.
        right: share of the pictures drawn for held-out pairs.
    """

    seconds: float
    samples: float
    right: float


class Speedrun:
    """Trains by each recipe with `aaa.train`, a seed after the other, and finds when enough pictures are right.

    Recipes take turns, so that a machine that slows down slows all of them down.

    Args:
        recipes: overrides by name; others are compared with the first.
        seeds: of the runs.
        target: share of the pictures of held-out pairs that are to be right, in 0..1.
        looks: how often a run is looked at, its end included.
        num_images: drawn at each look, for seen pairs and again for held-out ones.
    """

    def __init__(
        self, recipes: Mapping[str, Sequence[str]], seeds: Sequence[int], target: Share, looks: Count, num_images: Count
    ) -> None:
        if not seeds:
            raise UserError("bench.seeds=[]: there must be one at least.")
        self.recipes, self.seeds, self.target, self.looks = recipes, seeds, target, looks
        self.num_images = num_images

    def run(self, config: DictConfig, device: str) -> Report:
        """Measure."""
        if config.data.name != "shapes":
            raise UserError("bench=speedrun: only data=shapes knows which pictures are right.")
        chosen = typed()
        rows: list[dict[str, Any]] = []
        with tempfile.TemporaryDirectory() as folder:
            for seed in self.seeds:
                for recipe, overrides in self.recipes.items():
                    name = f"{recipe}-{seed}"
                    settings = [*overrides, *chosen, *QUIET, f"seed={seed}", f"name={name}", *in_folder(Path(folder))]
                    settings.append(f"evaluation.num_images={self.num_images}")
                    steps = _steps(Path(folder), settings)
                    every = f"trainer.evaluate_every_steps={max(1, -(-steps // self.looks))}"
                    measure(Path(folder), "-m", "aaa.train", *settings, every)
                    (run,) = read_runs([Path(folder) / "outputs" / name])
                    rows.append({"recipe": recipe, "seed": seed} | reached(looks(run), self.target))
        title = f"until {self.target:.0%} of the pictures of held-out pairs are right, on {device}"
        return Report(title, rows, ("recipe", "seconds"), notes(rows, list(self.recipes)))


def _steps(folder: Path, settings: Sequence[str]) -> int:
    """Of a run, asked of the command itself: a recipe may choose a trainer, and Hydra composes one config a process."""
    shown = measure(folder, "-m", "aaa.train", *settings, "--cfg", "job").output
    return int(OmegaConf.create(shown).trainer.max_steps)


def looks(run: Run) -> list[Look]:
    """The evaluations of a run."""
    seconds, right = run.curve("seconds", METRIC)
    samples, _ = run.curve("samples", METRIC)
    return [Look(*look) for look in zip(seconds, samples, right, strict=True)]


def reached(taken: Sequence[Look], target: float) -> dict[str, float | None]:
    """When the target was reached first, and what there was at the end."""
    first = next((look for look in taken if look.right >= target), None)
    return {
        "seconds": first and first.seconds,
        "samples": first and first.samples,
        "right at the end": taken[-1].right,
        "seconds of training": taken[-1].seconds,
    }


def notes(rows: Sequence[Mapping[str, Any]], recipes: Sequence[str]) -> list[str]:
    """The median over seeds of each recipe, a run that never got there counting as endless, beside the first's."""
    medians = {
        recipe: statistics.median(
            float("inf") if row["seconds"] is None else row["seconds"] for row in rows if row["recipe"] == recipe
        )
        for recipe in recipes
    }
    first = medians[recipes[0]]
    said = []
    for recipe, median in medians.items():
        if median == float("inf"):
            said.append(f"{recipe}: half of the runs or more did not get there")
            continue
        beside = "" if recipe == recipes[0] or first == float("inf") else f", {median / first:.2f} of {recipes[0]}'s"
        said.append(f"{recipe}: {median:.0f} s in the median{beside}")
    return said
