"""The field's recipes as a user types them, cut short."""

from pathlib import Path

import pytest

from tests.config.test_experiments import RECIPES
from tests.e2e.conftest import Command, metrics

FORKED = True
SHORT = [
    "data.source.num_records=64",
    "data.source.num_validation=16",
    "validation.num_records=8",
    "trainer.max_steps=20",
    "trainer.validate_every_steps=20",
    "trainer.sample_every_steps=20",
    "trainer.save_every_steps=20",
    "sampling.steps=2",
    "sampling.num_images=2",
    "evaluation.num_images=2",
    "logger=none",
]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_trains_and_draws(command: Command, tmp_path: Path, recipe: str) -> None:
    done = command("aaa.train", f"+experiment={recipe}", *SHORT, "hydra.run.dir=run")
    assert done.code == 0, done.err
    logged = {key: value for row in metrics(tmp_path / "run") for key, value in row.items()}
    assert logged["step"] == 20
    # At less noise errors of the clean picture are divided by it. 1 is what a model has that has learned nothing; with
    # torch's initial values, as the tutorial has them, it begins above.
    assert 0 < logged["val/loss_sigma_0.6_0.8"] < 2
    assert "quality/held_out" in logged
    done = command("aaa.sample", "model=run", "prompt=a red circle", "num_images=1")
    assert done.code == 0, done.err
    assert (tmp_path / "samples" / "seed-0.png").is_file()
