"""Training in stages, small pictures first, as a user types it: what a stage before had cost is never forgotten."""

import json
from pathlib import Path
from typing import Any

import pytest

from aaa.tracking.stages import STAGES
from tests.e2e.conftest import SMALL, fork_in

FORKED = True
LOOKS = ("evaluation.", "sampling.", "trainer.max_steps")
STAGE = [
    *("aaa.train", *(argument for argument in SMALL if not argument.startswith(LOOKS))),
    *("logger=none", "evaluation=none", "trainer.sample_every_steps=0", "trainer.validate_every_steps=6"),
    *("trainer.max_steps=6", "trainer.ema_memory=0.3", "trainer.ema_decay=null", "trainer.save_every_steps=1"),
    "checkpoint.keep_last=null",
]


def recorded(run: Path) -> list[dict[str, Any]]:
    stages: list[dict[str, Any]] = json.loads((run / "environment.json").read_text()).get(STAGES, [])
    return stages


def done(folder: Path, *arguments: str) -> str:
    ended = fork_in(folder, *arguments)
    assert ended.code == 0, ended.err
    return ended.out + ended.err


def train_small_then_large(folder: Path) -> str:
    """What the second stage says at its start."""
    done(folder, *STAGE, "hydra.run.dir=small")
    return done(folder, *STAGE, "data.resolution=32", "init_from=small", "hydra.run.dir=large")


def test_what_the_stage_before_had_cost_is_recorded_and_told(tmp_path: Path) -> None:
    said = train_small_then_large(tmp_path)
    assert not (tmp_path / "small" / "environment.json").read_text().count(f'"{STAGES}"'), "it began from nothing"
    assert "What they had cost until then: 6 steps, 48 samples, " in said
    (of_small,) = recorded(tmp_path / "large")
    state = json.loads((tmp_path / "small" / "checkpoints" / "step-00000006" / "state.json").read_text())
    assert {key: of_small[key] for key in ("step", "samples", "flops")} == {
        "step": 6,
        "samples": 48,
        "flops": state["flops"],
    }
    assert of_small["seconds"] == round(state["seconds"], 3)
    assert (tmp_path / "small" / of_small["run"]) == tmp_path / "small"
    card = (tmp_path / "large" / "model" / "README.md").read_text()
    assert "| training before, of the weights that it began from | 6 steps, 48 samples, " in card


@pytest.mark.slow
def test_stages_add_up_whatever_is_done_on_the_way(tmp_path: Path) -> None:
    """The second is resumed, the third begins from an average of it, made afterwards."""
    train_small_then_large(tmp_path)
    (of_small,) = recorded(tmp_path / "large")
    done(tmp_path, "aaa.train", "resume=large", "trainer.max_steps=8")
    assert recorded(tmp_path / "large") == [of_small]
    done(tmp_path, "aaa.average", "model=large/checkpoints/step-00000007", "memory=0.1")
    (average,) = (tmp_path / "large" / "averages").iterdir()
    done(tmp_path, *STAGE, "data.resolution=32", f"init_from={average}", "hydra.run.dir=third")
    first, second = recorded(tmp_path / "third")
    assert first == of_small
    assert (second["run"], second["step"], second["samples"]) == (str(tmp_path / "large"), 7, 56)
    said = " ".join(done(tmp_path, "aaa.compare", "small", "large", "third").replace("│", " ").split())
    assert "began after" in said
    assert "6 steps" in said
    assert "13 steps" in said
