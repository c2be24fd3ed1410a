"""What the config.json of a VAE says, which a config needs before anything is loaded."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from aaa.encoders import diffusers_config
from aaa.encoders.diffusers_config import describe, vae_folder
from aaa.errors import UserError
from tests.helpers.composed import checked
from tests.helpers.pretrained import describe_diffusers_vae

STAGES = {"_class_name": "AutoencoderDC", "encoder_block_out_channels": [128, 256, 512, 512, 1024, 1024]}


@pytest.mark.parametrize(
    ("config", "patch_size", "channels", "factor"),
    [
        ({}, None, 4, 8),  # Stable Diffusion 1.x, XL
        ({}, 2, 16, 16),  # and DiT-XL/2
        ({"latent_channels": 16}, None, 16, 8),  # Stable Diffusion 3, FLUX.1
        (STAGES | {"latent_channels": 32}, 1, 32, 32),  # dc-ae-f32c32
    ],
)
def test_published_vaes_are_told_from_their_config(
    tmp_path: Path, config: dict[str, object], patch_size: int | None, channels: int, factor: int
) -> None:
    folder = describe_diffusers_vae(tmp_path / "vae", **config)
    for path in (folder, tmp_path):  # of the VAE, of a pipeline
        described = describe(str(path), patch_size=patch_size)
        assert (described.latent_channels, described.downscale_factor) == (channels, factor)


def test_a_run_knows_its_latents_by_the_folder_alone_and_without_torch(tmp_path: Path) -> None:
    folder = describe_diffusers_vae(tmp_path / "vae")
    asked = ["encoder=diffusers", f"encoder.vae.path={folder}", "encoder.vae.patch_size=2", "data.resolution=64"]
    config = checked(*asked)
    assert (config.model.in_channels, config.encoder.downscale_factor) == (16, 16)
    with pytest.raises(UserError, match=r"data\.resolution=40 is not divisible by encoder\.downscale_factor=16"):
        checked(*asked, "data.resolution=40")
    shown = f"from tests.helpers.composed import compose; print(compose(*{asked!r}).encoder.latent_channels)"
    done = subprocess.run(
        [sys.executable, "-c", f"{shown}; import sys; assert 'torch' not in sys.modules"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "16\n", done.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"hidden_size": 3}',
            "says no _class_name, so that it is of no VAE of diffusers. encoder=diffusers takes Auto",
        ),
        ("[]", "says no _class_name"),
        ("{", "config.json: not JSON"),
        (
            '{"_class_name": "AutoencoderTiny"}',
            "is of the class AutoencoderTiny. encoder=diffusers takes AutoencoderKL and",
        ),
        ('{"_class_name": "AutoencoderKLFlux2"}', "FLUX.2's VAE is encoder=flux2_qwen3."),
        ('{"_class_name": ["AutoencoderKL"]}', "is of the class ['AutoencoderKL']. encoder=diffusers takes"),
        ('{"_class_name": "AutoencoderKL"}', "does not say latent_channels and block_out_channels"),
        ('{"_class_name": "AutoencoderKL", "in_channels": 1}', "in_channels=1, but pictures have 3"),
    ],
)
def test_what_is_no_such_vae_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError) as error:
        describe(str(tmp_path))
    assert message in str(error.value)
    assert str(tmp_path / "config.json") in str(error.value)


def test_a_folder_that_there_is_not_or_has_no_vae_is_named_with_what_fetches_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^encoder\.vae\.path=.*/nowhere: there is no such folder \(looked in /"):
        describe(str(tmp_path / "nowhere"))
    with pytest.raises(
        UserError, match=r"has no config\.json of a VAE \(looked in (.|\n)*hf download OWNER/NAME config"
    ):
        describe(str(tmp_path))
    with pytest.raises(UserError, match=r"encoder\.vae\.subfolder=ae: has no (.|\n)*hf download OWNER/NAME ae/config"):
        describe(str(tmp_path), subfolder="ae")
    for both in ({}, {"path": "x", "model_id": "a/b"}):
        with pytest.raises(UserError, match=r"which VAE\? Give one of encoder\.vae\.path=FOLDER and"):
            describe(**both)  # type: ignore[arg-type]


@pytest.mark.parametrize("patch_size", [0, -1, 2.0, True, "2"])
def test_a_patch_is_a_whole_number_of_latents(tmp_path: Path, patch_size: int) -> None:
    with pytest.raises(UserError, match=rf"encoder\.vae\.patch_size={patch_size}: must be a whole number from 1 on"):
        describe(str(describe_diffusers_vae(tmp_path / "vae")), patch_size=patch_size)


def test_of_a_repository_the_config_is_fetched_where_it_is_not_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFSYNTH_MODEL_BASE_PATH", str(tmp_path))
    asked = []

    def fetch(model_id: str, names: Sequence[str]) -> None:
        asked.append((model_id, names))
        if model_id == "owner/pipeline":
            describe_diffusers_vae((tmp_path / model_id / names[0]).parent)

    monkeypatch.setattr(diffusers_config, "fetch_model_files", fetch)
    for _ in range(2):
        assert describe(model_id="owner/pipeline", subfolder="vae").latent_channels == 4
    assert asked == [("owner/pipeline", ["vae/config.json"])]
    assert vae_folder(None, "owner/pipeline", None) == tmp_path / "owner" / "pipeline" / "vae"
    with pytest.raises(UserError, match=r"model_id=owner/none .*subfolder=vae\): (.|\n)*hf download owner/none config"):
        describe(model_id="owner/none")
