"""Runs on several data sets, as a user types them."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.e2e.conftest import Command, launch_in, losses, metrics

FORKED = True
MIXED = [
    *("data=mixture", "+data@data.parts.still=shapes", "+data@data.parts.moving=shapes", "data.resolution=16"),
    "encoder=pixel",
    *(
        "data.parts.still.source.num_records=48",
        "data.parts.still.source.num_validation=8",
        "data.parts.still.weight=3",
    ),
    *("data.parts.moving.source.num_records=30", "data.parts.moving.source.num_validation=4"),
    *("data.parts.moving.source.jitter=0.1", "model.dim=32", "model.depth=1", "model.heads=2", "trainer.batch_size=8"),
    *("trainer.log_every_steps=1", "trainer.validate_every_steps=6", "trainer.sample_every_steps=12"),
    *("trainer.save_every_steps=6", "trainer.max_steps=12", "trainer.precision=float32", "sampling.steps=2"),
    *("sampling.num_images=4", "validation.num_records=4", "evaluation.num_images=4", "logger=none"),
]


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / f"step-{step:08d}" / "model.safetensors")


def test_a_mixture_is_trained_resumed_to_the_bit_and_judged(command: Command, tmp_path: Path) -> None:
    done = command("aaa.train", *MIXED, "hydra.run.dir=whole")
    assert done.code == 0, done.err
    assert "Samples are mixed by weight: still 75% (48 records, 8 held out), moving 25% (30 records, 4" in done.err
    told = {key for row in metrics(tmp_path / "whole") for key in row}
    assert {"val/loss", "val/loss/still", "val/loss/moving", "quality/seen/still", "quality/held_out/moving"} <= told
    assert (tmp_path / "whole" / "samples" / "step-00000012.png").is_file()
    again = command("aaa.train", "repeat=whole/checkpoints/step-00000006", "hydra.run.dir=again")
    assert again.code == 0, again.err
    before, after = (weights(tmp_path / run, 12) for run in ("whole", "again"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    judged = command("aaa.evaluate", "model=again", "evaluation=latent_distance", "evaluation.num_images=8")
    assert judged.code == 0, judged.err
    assert "quality/latent_frechet/moving" in judged.out
    planned = command("aaa.plan", *MIXED)
    assert "mixed: 75% still, 25% moving" in planned.out


@pytest.mark.slow
def test_a_part_that_is_not_trained_on_is_judged_by_what_it_holds_out(command: Command, tmp_path: Path) -> None:
    zero_shot = ["data.parts.moving.weight=0", "data.parts.moving.source.num_validation=9"]
    judged = ["evaluation=latent_distance", "evaluation.num_images=8", "trainer.max_steps=2"]
    done = command("aaa.train", *MIXED, *zero_shot, *judged, "hydra.run.dir=run")
    assert done.code == 0, done.err
    told = {key for row in metrics(tmp_path / "run") for key in row if key.startswith("quality/latent_frechet")}
    assert {"quality/latent_frechet/still", "quality/latent_frechet-validation/moving"} <= told
    assert "Latents of pictures (8 drawn for held-out prompts, against 5 held-out pictures)" in done.err


def test_a_folder_val_alone_is_what_a_run_is_judged_by(command: Command, tmp_path: Path) -> None:
    """By all of it, with every evaluation that needs no training pictures."""
    (tmp_path / "mine" / "val").mkdir(parents=True)
    for number in range(9):
        Image.new("RGB", (16, 16), (20 * number, 255 - 20 * number, 90)).save(tmp_path / f"mine/val/{number}.png")
        (tmp_path / f"mine/val/{number}.txt").write_text(f"colour {number}")
    zero = ["data.parts.val.root=mine", "data.parts.val.weight=0", "data.parts.val.validation_fraction=1"]
    judged = ["evaluation=full", "evaluation.num_images=8", "checkpoint.metric=quality/latent_frechet"]
    few = ["trainer.max_steps=2", "trainer.evaluate_every_steps=1", "trainer.validate_every_steps=2"]
    mixed = [key for key in MIXED if "moving" not in key]
    done = command("aaa.train", *mixed, "+data@data.parts.val=imagefolder", *zero, *judged, *few, "hydra.run.dir=run")
    assert done.code == 0, done.err
    assert "still 100% (48 records, 8 held out), val 0% (0 records, 9 held out)" in done.err
    told = {key for row in metrics(tmp_path / "run") for key in row}
    assert {"val/loss/val", "quality/diversity/still", "quality/latent_frechet-validation/val"} <= told
    assert not {"quality/diversity/val", "memorisation/copies/val"} & told
    assert (tmp_path / "run" / "model").is_dir()
    unmeasured = "checkpoint.metric=quality/latent_frechet: the evaluation has not measured it"
    assert done.err.count(unmeasured) == 1, "its names end in those of the parts"


@pytest.mark.slow
def test_parts_are_encoded_once_whatever_their_weights_and_two_processes_share_them(
    command: Command, tmp_path: Path
) -> None:
    encoded = command("aaa.encode", *MIXED)
    assert encoded.code == 0, encoded.err
    assert len([*tmp_path.glob(".cache/aaa/shapes-pixel-16-*/index.json")]) == 2
    alone = command("aaa.train", *MIXED, "hydra.run.dir=alone", "data.buckets=true")
    assert alone.code == 0, alone.err
    assert "Encoding" in alone.err  # with buckets they are other latents
    one = command("aaa.train", *MIXED, "hydra.run.dir=one", "data.parts.moving.weight=2")
    assert one.code == 0, one.err
    assert "Encoding" not in one.err
    two = launch_in(tmp_path, 2, "aaa.train", *MIXED, "hydra.run.dir=two", "data.parts.moving.weight=2")
    assert two.code == 0, two.err
    # Noise is drawn by each process, so that their losses are near, not equal.
    first, second = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert second == pytest.approx(first, rel=0.2)
    environment = json.loads((tmp_path / "two" / "environment.json").read_text())
    assert environment["data"]["latent_cache"].startswith("still:")
