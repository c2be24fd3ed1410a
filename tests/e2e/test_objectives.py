"""Objectives by the command line: trained, gone on with to the bit, sampled, judged; refused where they cannot be."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.e2e.conftest import SMALL, Command, losses, metrics
from tests.helpers.pretrained import make_vision_model

FORKED = True
ACCUMULATED = "trainer.gradient_accumulation_steps=2"
EVERYTHING = [
    "objective=clean",
    "scheduler=logit_normal_pixels",
    "objective.weighting=min_snr",
    "objective.coupling=immiscible",
    "objective.terms.contrastive.weight=0.05",
    "objective.terms.dispersive.weight=0.25",
    "objective.terms.dispersive.until_step=14",
    "objective.terms.align.weight=0.5",
    "objective.terms.align.projector=conv",
    "objective.terms.align.spatial_norm=true",
    "objective.terms.perceptual.weight=2",
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [EVERYTHING, ["encoder=pixel", "objective.weighting=flux2", "objective.coupling=nearest"]]
)
def test_it_is_resumed_to_the_bit_and_known_to_every_command(
    command: Command, tmp_path: Path, options: list[str]
) -> None:
    chosen = [*SMALL, *options, "logger=none", "lr_scheduler=constant", "trainer.save_every_steps=10"]
    for name, steps in (("whole", 20), ("halves", 10)):
        done = command("aaa.train", *chosen, f"trainer.max_steps={steps}", f"hydra.run.dir={name}")
        assert done.code == 0, done.err
    done = command("aaa.train", "resume=halves", "trainer.max_steps=20")
    assert done.code == 0, done.err
    assert losses(tmp_path / "halves") == losses(tmp_path / "whole")
    files = ["model.safetensors"] + ["objective.safetensors"] * (options is EVERYTHING)
    for file in files:
        one, other = (load_file(tmp_path / run / "checkpoints/step-00000020" / file) for run in ("whole", "halves"))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one), file
    exported = load_file(tmp_path / "whole/model/model.safetensors")
    assert exported.keys() == load_file(tmp_path / "whole/checkpoints/step-00000020/model.safetensors").keys()
    rows = {row["step"]: row for row in metrics(tmp_path / "whole") if "train/loss" in row}
    if options is EVERYTHING:
        assert rows[14]["train/loss_dispersive"] < 0 == rows[15]["train/loss_dispersive"]
        assert rows[20]["train/loss_contrastive"] < 0 < rows[20]["train/loss_align"]
    done = command("aaa.sample", "model=whole", "prompt=a red circle", "num_images=1", "steps=3")
    assert done.code == 0, done.err
    done = command("aaa.evaluate", "model=whole", "evaluation=none")
    assert done.code == 0, done.err


@pytest.mark.slow
def test_a_term_is_swept_from_off(command: Command, tmp_path: Path) -> None:
    weights = "objective.terms.contrastive.weight=0,0.05"
    done = command("aaa.train", "-m", *SMALL, weights, "logger=none", "trainer.max_steps=2", "hydra.sweep.dir=sweep")
    assert done.code == 0, done.err
    off, on = (metrics(tmp_path / "sweep" / job)[0] for job in "01")
    assert "train/loss_contrastive" in on
    assert "train/loss_contrastive" not in off
    done = command("aaa.compare", "sweep")
    assert done.code == 0, done.err
    assert "terms.contrastive.weight" in done.out


@pytest.mark.slow
def test_a_vision_model_is_aligned_to_and_asked_once(command: Command, tmp_path: Path) -> None:
    make_vision_model(tmp_path / "models" / "dino v2")
    term = "objective.terms.align"
    vision = [f"{term}.weight=0.5", f"{term}.target=vision", f"{term}.vision.path=models/dino v2"]
    small = [*SMALL, *vision, "logger=none", "lr_scheduler=constant", "trainer.save_every_steps=6"]
    for run, steps in (("whole", 12), ("halves", 6)):
        done = command("aaa.train", *small, f"trainer.max_steps={steps}", f"hydra.run.dir={run}")
        assert done.code == 0, done.err
        assert ("Computing vision" in done.err + done.out) == (run == "whole")
    done = command("aaa.train", "resume=halves", "trainer.max_steps=12")
    assert done.code == 0, done.err
    assert losses(tmp_path / "halves") == losses(tmp_path / "whole")
    aligned = [row["train/loss_align"] for row in metrics(tmp_path / "whole") if "train/loss_align" in row]
    assert len(aligned) == 12
    assert all(0 < loss < 2 for loss in aligned)
    done = command("aaa.train", *small, f"{term}.vision.path=nowhere")
    assert f"{term}.vision.path=nowhere: there is no such folder" in done.error


@pytest.mark.slow
def test_a_vision_model_is_looked_through_at_each_step_and_left_behind(command: Command, tmp_path: Path) -> None:
    make_vision_model(tmp_path / "models" / "dino v2")
    term = "objective.terms.perceptual"
    vision = [f"{term}.weight=2", f"{term}.target=vision", f"{term}.vision.path=models/dino v2", f"{term}.below=0.9"]
    small = [*SMALL, *vision, "logger=none", "lr_scheduler=constant", "trainer.save_every_steps=6"]
    for run, steps, more in (("whole", 12, []), ("halves", 6, []), ("shared", 12, [ACCUMULATED])):
        done = command("aaa.train", *small, f"trainer.max_steps={steps}", f"hydra.run.dir={run}", *more)
        assert done.code == 0, done.err
    done = command("aaa.train", "resume=halves", "trainer.max_steps=12")
    assert done.code == 0, done.err
    assert losses(tmp_path / "halves") == losses(tmp_path / "whole")
    plain = [option for option in small if not option.startswith(term)]
    done = command("aaa.train", *plain, "trainer.max_steps=12", "hydra.run.dir=plain")
    assert done.code == 0, done.err
    last = "checkpoints/step-00000012"
    assert {path.name for path in (tmp_path / "whole" / last).iterdir()} == {
        path.name for path in (tmp_path / "plain" / last).iterdir()
    }
    one, other = (load_file(tmp_path / run / last / "model.safetensors") for run in ("whole", "plain"))
    assert one.keys() == other.keys()
    assert any(not torch.equal(one[name], other[name]) for name in one)
    flops = [max(row.get("flops", 0) for row in metrics(tmp_path / run)) for run in ("whole", "plain")]
    assert flops[0] > flops[1] > 0


def test_a_perceptual_loss_is_turned_on_by_its_weight(command: Command, tmp_path: Path) -> None:
    on = "objective.terms.perceptual.weight=2", "objective.terms.perceptual.below=1"
    done = command("aaa.train", *SMALL, *on, "logger=none", "trainer.max_steps=2")
    assert done.code == 0, done.err
    (run,) = (path.parent for path in tmp_path.glob("outputs/*/*/metrics.jsonl"))
    rows = [row for row in metrics(run) if "train/loss" in row]
    assert [row["train/loss_perceptual"] > 0 for row in rows] == [True, True]
    parts = sum(value for key, value in rows[-1].items() if key.startswith("train/loss_"))
    assert rows[-1]["train/loss"] == pytest.approx(parts, rel=1e-4)


def test_what_does_not_go_together_is_refused(command: Command) -> None:
    done = command("aaa.train", "objective=clean", "scheduler=flux2")
    assert "objective=clean does not go with scheduler=flux2" in done.error
