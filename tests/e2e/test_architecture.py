"""A model of another architecture, with tokens that skip blocks, by the commands as they are typed."""

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import SMALL, Command, losses, metrics

FORKED = True
MMDIT = ["model.joint=mmdit", "model.text_refiner=1", "model.registers=2", "routing=tread"]
CROSS = ["model.joint=cross", "model.pooled_prompt=true", "routing=sprint", "trainer.prompt_dropout=0.3"]
SAME = [
    "block=modern",
    "model.mask_padding=true",
    "routing.last_block=2",
    "lr_scheduler=constant",
    "logger=none",
    "trainer.precision=float32",
    "trainer.save_every_steps=2",
]


@pytest.mark.parametrize("other", [MMDIT, CROSS], ids=["mmdit", "cross"])
def test_it_trains_goes_on_to_the_bit_and_draws(command: Command, tmp_path: Path, other: list[str]) -> None:
    for name, steps in (("whole", 4), ("halves", 2)):
        done = command("aaa.train", *SMALL, *SAME, *other, f"trainer.max_steps={steps}", f"hydra.run.dir={name}")
        assert done.code == 0, done.err
    done = command("aaa.train", "resume=halves", "trainer.max_steps=4")
    assert done.code == 0, done.err
    assert losses(tmp_path / "halves") == losses(tmp_path / "whole")
    done = command("aaa.sample", "model=halves", "prompt=a red circle", "num_images=1", "height=32")
    assert done.code == 0, done.err
    card = (tmp_path / "halves" / "model" / "README.md").read_text()
    assert "| architecture | positions=rope, qk_norm, mlp=swiglu" in card
    assert other[0].removeprefix("model.") in card
    about = json.loads((tmp_path / "halves" / "environment.json").read_text())["model"]
    flops = [row["flops"] for row in metrics(tmp_path / "halves") if "flops" in row]
    assert flops[-1] == 4 * 8 * about["flops_per_sample"]
