"""A run folder that an earlier version left, before there were objectives, samplers and guidance in the config.

`fixtures/kept_run` was written by commit c2ae436 and is never written anew: what people have on their disks must stay
readable.
"""

import json
import shutil
from pathlib import Path

import pytest

from tests.e2e.conftest import Command, metrics

FORKED = True
KEPT = Path(__file__).parents[1] / "fixtures" / "kept_run"


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    shutil.copytree(KEPT / "run", tmp_path / "kept")
    shutil.copytree(KEPT / "cache", tmp_path / ".cache" / "aaa")
    return tmp_path / "kept"


def test_it_is_trained_for_longer(kept: Path, command: Command) -> None:
    before = metrics(kept)
    done = command("aaa.train", "resume=kept", "trainer.max_steps=12")
    assert done.code == 0, done.err
    rows = metrics(kept)
    assert rows[: len(before)] == before
    assert [row["step"] for row in rows if row["step"] > 8 and "train/loss" in row] == [9, 10, 11, 12]
    assert [row["samples"] for row in rows if row["step"] == 12 and "train/loss" in row] == [48]
    config = json.loads((kept / "model" / "config.json").read_text())
    assert config["sampler"]["_target_"] == "aaa.diffusion.samplers.Euler"
    assert config["guidance"]["scale"] == config["sampling"]["guidance"]


@pytest.mark.parametrize("model", ["kept", "kept/model", "kept/checkpoints/step-00000008"])
def test_it_is_sampled(kept: Path, command: Command, tmp_path: Path, model: str) -> None:
    done = command("aaa.sample", f"model={model}", "prompt=a red circle", "num_images=1", "steps=1")
    assert done.code == 0, done.err
    assert (tmp_path / "samples" / "seed-0.png").is_file()


def test_it_is_judged_on_the_table_it_was_validated_on(kept: Path, command: Command) -> None:
    done = command("aaa.evaluate", "model=kept", "evaluation=none", "out=judged")
    assert done.code == 0, done.err
    (found,) = (kept.parent / "judged").glob("*.json")
    judged = json.loads(found.read_text())
    validated = json.loads((kept / "validation" / "step-00000008.json").read_text())
    assert judged["table"] == validated["table"]
    last = [row["val/loss"] for row in metrics(kept) if "val/loss" in row][-1]
    assert judged["metrics"]["val/loss"] == pytest.approx(last, rel=1e-4)


def test_it_is_compared(kept: Path, command: Command, tmp_path: Path) -> None:
    done = command("aaa.compare", "kept")
    assert done.code == 0, done.err
    assert (tmp_path / "compare.html").is_file()
