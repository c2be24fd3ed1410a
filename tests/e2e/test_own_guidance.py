"""Models that are guided by a part of themselves, by the commands as they are typed."""

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import SMALL, Command, Finished, losses

FORKED = True
OWN = [
    *(part for part in SMALL if not part.startswith("evaluation")),
    "model.depth=3",
    "encoder=pixel",
    "routing=sprint",
    "objective.terms.internal.weight=0.25",
    "guidance=internal",
    "lr_scheduler=constant",
    "evaluation=none",
    "logger=none",
    "trainer.precision=float32",
    "trainer.sample_every_steps=4",
    "trainer.validate_every_steps=4",
    "trainer.save_every_steps=2",
]
DRAW = ["prompt=a red circle", "num_images=2"]


def test_a_model_of_both_trains_and_is_drawn_by_either(command: Command, tmp_path: Path) -> None:
    done = command("aaa.train", *OWN, "trainer.max_steps=4", "hydra.run.dir=run")
    assert done.code == 0, done.err
    exported = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert (exported["model"]["internal_head"], exported["routing"]["kind"]) == (2, "sprint")
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "| architecture | internal_head=2, routing=sprint |" in card
    said = {}
    for name, options in {
        "plain": ["guidance=1"],
        "internal": ["guidance=internal", "guidance.scale=3", "guidance.interval=[0.3,1]"],
        "routing": ["guidance=routing", "guidance.scale=3"],
    }.items():
        done = command("aaa.sample", "model=run/model", *DRAW, "steps=5", *options, f"out={name}")
        assert done.code == 0, done.err
        said[name] = (tmp_path / name / "seed-1.png").read_bytes()
        told = {"plain": 5, "internal": 5, "routing": 10}[name]
        assert f"5 steps of Euler, {told} evaluations of the model" in done.out + done.err
    assert len(set(said.values())) == 3


@pytest.mark.slow
def test_it_goes_on_to_the_bit_is_judged_and_starts_others(command: Command, tmp_path: Path) -> None:
    for name, steps in (("whole", 4), ("halves", 2)):
        done = command("aaa.train", *OWN, f"trainer.max_steps={steps}", f"hydra.run.dir={name}")
        assert done.code == 0, done.err
    done = command("aaa.train", "resume=halves", "trainer.max_steps=4")
    assert done.code == 0, done.err
    assert losses(tmp_path / "halves") == losses(tmp_path / "whole")
    for options in (["routing=tread"], ["routing.last_block=3"], ["objective.terms.internal.weight=0"]):
        assert command("aaa.train", "resume=halves", "trainer.max_steps=6", *options).code == 1, options
    judged = ["evaluation=shapes", "evaluation.num_images=8", "guidance=routing", "guidance.weaker_prompt=negative"]
    done = command("aaa.evaluate", "model=halves", *judged, "out=judged")
    assert done.code == 0, done.err
    (record,) = (tmp_path / "judged").glob("*.json")
    assert json.loads(record.read_text())["metrics"]["sampling/evaluations"] == 8
    begin = ["init_from=halves/model/model.safetensors", "trainer.max_steps=2", "hydra.run.dir=on"]
    done = command("aaa.train", *OWN, *begin)
    assert done.code == 0, done.err
    refused = command("aaa.train", *OWN, *begin, "routing=tread", "hydra.run.dir=other")
    assert "the fusion of routing=sprint is part of this model" in refused.error


def test_a_model_without_them_is_refused(command: Command, small_run: tuple[Path, Finished]) -> None:
    for kind, told in (("internal", "model.internal_head=null"), ("routing", "routing.kind=none")):
        refused = command("aaa.sample", f"model={small_run[0]}", *DRAW, f"guidance={kind}")
        assert f"guidance={kind}: the model " in refused.error
        assert told in refused.error
