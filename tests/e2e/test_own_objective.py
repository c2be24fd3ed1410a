"""Runs with an objective and a sampler of one's own: trained, gone on with to the bit, sampled, judged, compared."""

import os
import shutil
from pathlib import Path

import pytest

from tests.e2e.conftest import SMALL, Command, losses, metrics

FORKED = True
PROJECT = Path(__file__).parents[2] / "docs" / "my_project"
TRUST = "trust_config=true"


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
