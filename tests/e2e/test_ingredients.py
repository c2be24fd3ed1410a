"""Ingredients drawn at random: together they train, go on and draw, or are refused with the keys that do not go."""

import random
from pathlib import Path

import pytest

from tests.e2e.conftest import SMALL, Command, metrics
from tests.helpers.pretrained import make_vision_model

FORKED = True
AXES: dict[str, list[str]] = {
    "block": ["tutorial", "modern"],
    "model.positions": ["learned", "rope"],
    "model.text_positions": ["none", "rope"],
    "model.qk_norm": ["false", "true"],
    "model.mlp": ["silu", "relu2", "swiglu"],
    "model.modulation": ["gate", "adaln", "adaln_shared", "none"],
    "model.value_residual": ["false", "true"],
    "model.text_refiner": ["0", "1"],
    "model.registers": ["0", "3"],
    "model.patch_bottleneck": ["null", "2"],
    "model.mask_padding": ["false", "true"],
    "model.joint": ["single", "mmdit", "cross"],
    "model.pooled_prompt": ["false", "true"],
    "model.init": ["scaled", "torch"],
    "routing": ["none", "tread", "sprint"],
    "objective": ["velocity", "clean", "aligned"],
    "objective.weighting": ["scheduler", "none", "flux2", "min_snr"],
    "objective.coupling": ["independent", "immiscible", "nearest"],
    "objective.terms.contrastive.weight": ["0", "0.05"],
    "objective.terms.dispersive.weight": ["0", "0.25"],
    "objective.terms.align.weight": ["0", "0.5"],
    "objective.terms.align.target": ["hog", "latents", "vision"],
    "objective.terms.align.projector": ["linear", "conv"],
    "objective.terms.internal.weight": ["0", "0.25"],
    "objective.terms.perceptual.weight": ["0", "0.5"],
    "objective.terms.perceptual.target": ["hog", "vision"],
    "scheduler": ["logit_normal", "logit_normal_pixels", "linear", "flux2"],
    "sampler": ["euler", "heun", "dpmpp_2m", "sde"],
    "guidance": ["prompt", "internal", "routing"],
    "guidance.interval": ["[0.0,1.0]", "[0.2,0.8]"],
    "guidance.rescale": ["0.0", "0.7"],
    "sampling.guidance": ["1.0", "3.0"],
    "optimizer": ["muon", "adamw"],
    "optimizer.decayed": ["all", "matrices"],
    "trainer.gradient_checkpointing": ["false", "true"],
    "trainer.ema_decay": ["0", "0.9"],
    "trainer.batch_size": ["8", "1"],
}
SHORT = ["evaluation=none", "logger=none", "trainer.validate_every_steps=5", "trainer.sample_every_steps=5"]

SEEN = [f"objective.terms.{term}.vision.path=vision" for term in ("align", "perceptual")]


def drawn(seed: int) -> list[str]:
    """Some ingredients, each with one of its options."""
    draws = random.Random(seed)
    chosen = sorted(draws.sample(sorted(AXES), draws.randint(3, 10)))
    return [f"{key}={draws.choice(AXES[key])}" for key in chosen]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_they_train_go_on_and_draw_or_are_refused_by_name(command: Command, tmp_path: Path, seed: int) -> None:
    small = [option for option in SMALL if not option.startswith(("evaluation", "model.depth"))]
    make_vision_model(tmp_path / "vision")
    options = [*small, "model.depth=3", *SEEN, *SHORT, *drawn(seed)]
    done = command("aaa.train", *options, "trainer.max_steps=5", "trainer.save_every_steps=5", "hydra.run.dir=run")
    if done.code:
        named = [key for key in AXES if f"{key}=" in done.error]
        assert len(named) >= 2, (options, done.error)
        return
    done = command("aaa.train", "resume=run", "trainer.max_steps=7")
    assert done.code == 0, (options, done.err)
    assert metrics(tmp_path / "run")[-1]["step"] == 7
    done = command("aaa.sample", "model=run", "prompt=a red circle", "num_images=1")
    assert done.code == 0, (options, done.err)
    assert (tmp_path / "samples" / "seed-0.png").is_file()
