"""Runs with an objective and a sampler of one's own: trained, gone on with to the bit, sampled, judged, compared."""

import os
import shutil
from pathlib import Path

import pytest

from tests.e2e.conftest import SMALL, Command, losses, metrics

FORKED = True
PROJECT = Path(__file__).parents[2] / "docs" / "my_project"
TRUST = "trust_config=true"
FLAWED = """
from torch import nn
from aaa.objectives.terms import Term


class Mean(Term):
    def __call__(self, done):
        return done.velocity.mean()


class Bare(nn.Module):
    def __init__(self, dim, heads, mlp_ratio):
        super().__init__()
"""


@pytest.fixture
def own(tmp_path: Path, command: Command) -> Command:
    """A command that knows the project's code and groups."""
    shutil.copytree(PROJECT, tmp_path, dirs_exist_ok=True)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    return lambda *arguments: command(*arguments, PYTHONPATH=path)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["noise", "small"])
def test_every_command_knows_it(own: Command, tmp_path: Path, objective: str) -> None:
    chosen = ["--config-dir=conf", f"objective={objective}", "sampler=midpoint", "evaluation=none", "logger=none"]
    train = [
        "aaa.train",
        *chosen,
        *(option for option in SMALL if not option.startswith("evaluation")),
        "lr_scheduler=constant",
    ]
    for name in ("whole", "halves"):
        steps = "trainer.max_steps=12" if name == "whole" else "trainer.max_steps=6"
        done = own(*train, steps, f"hydra.run.dir={name}")
        assert done.code == 0, done.err
    done = own("aaa.train", "resume=halves", TRUST, "trainer.max_steps=12")
    assert done.code == 0, done.err
    assert losses(tmp_path / "halves") == losses(tmp_path / "whole")
    first = metrics(tmp_path / "whole")[0]
    assert ("train/loss_size" in first) == (objective == "small")
    done = own("aaa.sample", "model=whole", "prompt=a red circle", "num_images=1", "steps=2", TRUST)
    assert done.code == 0, done.err
    other = ["--config-dir=conf", "sampler=midpoint", "guidance=dimmed", "guidance=3", "steps=2"]
    done = own("aaa.sample", "model=whole", "prompt=a red circle", "num_images=1", *other, TRUST)
    assert "2 steps of Midpoint, 8 evaluations of the model" in done.err
    done = own("aaa.evaluate", "model=whole", "evaluation=none", TRUST)
    assert done.code == 0, done.err
    done = own("aaa.compare", "whole", "halves")
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("term", "said"),
    [
        (
            "{_target_: my_objective.Sice, weight: 1}",
            "objective.terms.own: my_objective.Sice cannot be made: my_objective has no Sice (did you mean 'Size'?)",
        ),
        (
            "{_target_: my_objective.Size}",
            "objective.terms.own: my_objective.Size cannot be made: Size.__init__() missing",
        ),
        (
            "{_target_: flawed.Mean, weight: 1}",
            "objective.terms.own: Mean gives a tensor of shape (), and has to give a number for each sample: (",
        ),
    ],
)
def test_a_term_that_is_none_is_said_by_its_name(own: Command, tmp_path: Path, term: str, said: str) -> None:
    (tmp_path / "flawed.py").write_text(FLAWED)
    assert said in own("aaa.train", *SMALL, "logger=none", f"+objective.terms.own={term}", TRUST).error


def test_a_block_without_what_a_model_asks_of_it_is_said(own: Command, tmp_path: Path) -> None:
    (tmp_path / "flawed.py").write_text(FLAWED)
    error = own("aaa.train", *SMALL, "logger=none", "model.block={_target_: flawed.Bare}", TRUST).error
    assert "model.block: Bare has no forward and no init_weights and no flops, which a model asks of its" in error


def test_an_argument_that_a_config_leaves_out_is_added(own: Command) -> None:
    chosen = ["--config-dir=conf", "objective=small", *SMALL, "logger=none"]
    error = own("aaa.train", *chosen, "objective.terms.size.until_step=3").error
    assert "its config does not name is added with a plus: +objective.terms.size.until_step=VALUE" in error
