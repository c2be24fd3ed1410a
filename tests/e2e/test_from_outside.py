"""Six changes that research makes, each in one file and one YAML outside of aaa, and known to every command."""

import os
from pathlib import Path

import pytest

from tests.e2e.conftest import SMALL, Command, losses

FORKED = True
OUTSIDE = Path(__file__).parents[1] / "outside"
CHANGES = {
    "block": ["model=rope"],
    "prediction": ["objective=outside_clean"],
    "alignment": ["objective=outside_aligned"],
    "contrast": ["objective=outside_contrast"],
    "weights": ["scheduler=outside_min_snr"],
    "drawing": ["sampler=outside_heun", "guidance=outside_interval"],
    "randomness": ["model=drop_path"],
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_every_command_knows_it(command: Command, tmp_path: Path, change: str) -> None:
    path = os.pathsep.join([str(OUTSIDE), os.environ.get("PYTHONPATH", "")])

    def run(*arguments: str) -> str:
        done = command(*arguments, PYTHONPATH=path)
        assert done.code == 0, done.err
        return done.out + done.err

    small = [option for option in SMALL if not option.startswith("evaluation")]
    train = ["aaa.train", f"--config-dir={OUTSIDE / 'conf'}", *small, *CHANGES[change]]
    train += ["logger=none", "lr_scheduler=constant", "trainer.save_every_steps=10"]
    run(*train, "trainer.max_steps=20", "hydra.run.dir=runs/whole")
    run(*train, "trainer.max_steps=10", "hydra.run.dir=runs/halves")
    run("aaa.train", "resume=runs/halves", "trainer.max_steps=20", "trust_config=true")
    assert losses(tmp_path / "runs/halves") == losses(tmp_path / "runs/whole")
    drawn = run("aaa.sample", "model=runs/whole", "prompt=a red circle", "num_images=1", "trust_config=true")
    assert ("OutsideHeun" in drawn) == (change == "drawing")
    guided = ["guidance=checkpoint", "guidance.model=runs/whole/checkpoints/step-00000020"]
    run("aaa.evaluate", "model=runs/whole", "evaluation=none", *guided, "trust_config=true")
    assert "whole" in run("aaa.compare", "runs/whole", "runs/halves")
