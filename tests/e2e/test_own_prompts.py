"""Prompts of one's own, drawn while a run trains, as a user types it."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file

from aaa.config.trust import read_yaml_config
from aaa.evaluation.grid import make_grid
from aaa.pipelines.text_to_image import TextToImage
from aaa.run.callbacks import OWN
from tests.e2e.conftest import SMALL, Command, launch_in, losses, only_run, run_in

FORKED = True
PROMPTS = ["a red circle", "a blue square, small"]
QUICK = [*SMALL, "evaluation=none", "logger=none", "trainer.max_steps=8", "trainer.precision=float32"]
QUICK = [argument for argument in QUICK if not argument.startswith("evaluation.")]


def weights(run: Path) -> dict[str, bytes]:
    """Of the exported model; in the file they may come in another order."""
    tensors = load_file(run / "model" / "model.safetensors")
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


def test_they_are_drawn_beside_the_grid_and_change_nothing_else(command: Command, tmp_path: Path) -> None:
    plain = command("aaa.train", *QUICK, "hydra.run.dir=plain")
    assert plain.code == 0, plain.err
    file = tmp_path / "prompts.txt"
    file.write_text("\ufeffa red circle\n\n  a blue square, small\r\n", encoding="utf-8")
    done = command("aaa.train", *QUICK, "sampling.prompts=prompts.txt", "hydra.run.dir=own")
    assert done.code == 0, done.err
    assert losses(tmp_path / "own") == losses(tmp_path / "plain")
    grids = {path.name for path in (tmp_path / "own" / "samples").iterdir()}
    without = {path.name for path in (tmp_path / "plain" / "samples").iterdir()}
    steps = [f"step-{step:08d}-prompts{suffix}.png" for step in (6, 8) for suffix in ("", "-raw")]
    assert grids == without | {*steps}
    for name in without:
        drawn = (tmp_path / run / "samples" / name for run in ("own", "plain"))
        assert len({path.read_bytes() for path in drawn}) == 1, name
    assert weights(tmp_path / "own") == weights(tmp_path / "plain")
    assert (tmp_path / "own/model/config.json").read_text() == (tmp_path / "plain/model/config.json").read_text()
    assert read_yaml_config(tmp_path / "own" / "config.yaml").sampling.prompts == PROMPTS

    # The pictures are those that the trained model draws, from the seeds of a grid.
    model = TextToImage.from_pretrained(tmp_path / "own")
    pictures = [model.draw(prompt, seed=seed)[0] for seed, prompt in enumerate(PROMPTS)]
    last = Image.open(tmp_path / "own" / "samples" / "step-00000008-prompts.png")
    assert last.tobytes() == make_grid(pictures, PROMPTS, headings={0: OWN}).tobytes()

    # It goes on to the bit without the file, and without embedding anything again.
    shutil.copytree(tmp_path / "own", tmp_path / "stopped")
    for lost in ("model", "checkpoints/step-00000008"):
        shutil.rmtree(tmp_path / "stopped" / lost)
    (tmp_path / "stopped" / "samples" / steps[2]).unlink()
    file.unlink()
    resumed = command("aaa.train", "resume=stopped")
    assert resumed.code == 0, resumed.err
    assert "sampling.prompts=prompts.txt: is not there any more" in resumed.err
    assert len(list((tmp_path / ".cache" / "aaa" / "prompts").iterdir())) == 1
    assert losses(tmp_path / "stopped") == losses(tmp_path / "own")
    assert weights(tmp_path / "stopped") == weights(tmp_path / "own")
    again, whole = (tmp_path / run / "samples" / steps[2] for run in ("stopped", "own"))
    assert again.read_bytes() == whole.read_bytes()


def test_a_run_from_before_there_were_any_takes_them(command: Command, tmp_path: Path) -> None:
    kept = Path(__file__).parents[1] / "fixtures" / "kept_run"
    shutil.copytree(kept / "run", tmp_path / "kept")
    shutil.copytree(kept / "cache", tmp_path / ".cache" / "aaa")
    own = ['sampling.prompts=["a red circle"]', "trainer.sample_every_steps=2", "sampling.steps=1"]
    done = command("aaa.train", "resume=kept", "trainer.max_steps=10", "logger=none", *own)
    assert done.code == 0, done.err
    assert (tmp_path / "kept" / "samples" / "step-00000010-prompts.png").is_file()


@pytest.mark.slow
def test_two_processes_draw_them_as_one_does(tmp_path: Path) -> None:
    own = [*QUICK, f"sampling.prompts={json.dumps(PROMPTS * 3)}", "trainer.max_steps=1", "trainer.sample_every_steps=1"]
    own = [argument for argument in own if not argument.startswith("trainer.batch_size")] + ["trainer.batch_size=8"]
    own += ["optimizer.learning_rate=1e-30"]  # weights stay what they are, whoever takes the step
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    done = run_in(one, "aaa.train", *own, OMP_NUM_THREADS="1")
    assert done.code == 0, done.err
    shutil.copytree(one / ".cache", two / ".cache")
    shutil.rmtree(two / ".cache" / "aaa" / "prompts")
    together = launch_in(two, 2, "aaa.train", *own)
    assert together.code == 0, together.err
    name = "samples/step-00000001-prompts.png"
    assert (only_run(two) / name).read_bytes() == (only_run(one) / name).read_bytes()
