"""VAEs of diffusers, small and randomly initialised, in the layout of the published ones."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from einops import rearrange
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from aaa.assembly.latents import open_latents
from aaa.data.pictures import to_tensor
from aaa.encoders import diffusers_vae
from aaa.encoders.diffusers_vae import DiffusersVAE
from aaa.encoders.protocols import HasWeights, NormalisesLatents
from aaa.encoders.statistics import LatentStatistics
from aaa.errors import UserError
from tests.helpers.composed import compose
from tests.helpers.pretrained import describe_diffusers_vae, make_diffusers_vae

diffusers = pytest.importorskip("diffusers")

KL, DC = "AutoencoderKL", "AutoencoderDC"
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("vaes")
    return {kind: make_diffusers_vae(root / kind / "vae", kind) for kind in (KL, DC)}


@pytest.fixture
def kl(tmp_path: Path, folders: dict[str, Path]) -> Path:
    """One that may be spoilt."""
    folder = tmp_path / "kl"
    folder.mkdir()
    for file in folders[KL].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.mark.parametrize(("kind", "channels", "factor"), [(KL, 4, 8), (DC, 8, 4)])
@pytest.mark.parametrize("patch_size", [None, 2])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_encodes_to_squares_of_latents_and_back(
    folders: dict[str, Path], kind: str, channels: int, factor: int, patch_size: int | None, dtype: str
) -> None:
    vae = DiffusersVAE(str(folders[kind]), patch_size=patch_size, dtype=dtype)
    side = patch_size or 1
    assert (vae.latent_channels, vae.downscale_factor) == (channels * side**2, factor * side)
    assert vae.missing_files() is None
    assert isinstance(vae, HasWeights)
    assert isinstance(vae, NormalisesLatents)
    images = torch.rand(2, 3, 32, 48) * 2 - 1
    latents = vae.encode(images)
    assert latents.shape == (2, vae.latent_channels, 32 // vae.downscale_factor, 48 // vae.downscale_factor)
    assert latents.dtype == torch.float32
    assert not latents.requires_grad
    assert vae.decode(latents).shape == images.shape


@pytest.mark.parametrize("kind", [KL, DC])
def test_latents_are_what_diffusers_encodes_to_normalised(folders: dict[str, Path], kind: str) -> None:
    theirs = getattr(diffusers, kind).from_pretrained(folders[kind]).eval()
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        encoded = theirs.encode(images)
        expected = encoded.latent if kind == DC else encoded.latent_dist.mode()
        shown = theirs.decode(expected).sample
    vae = DiffusersVAE(str(folders[kind].parent), dtype="float32")  # the folder above, as of a pipeline
    assert torch.equal(vae.encode(images), expected)
    mean, std = torch.randn(vae.latent_channels).tolist(), (torch.rand(vae.latent_channels) + 0.5).tolist()
    vae.statistics = LatentStatistics(tuple(mean), tuple(std))
    normalised = (expected - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    assert torch.equal(vae.encode(images), normalised)
    torch.testing.assert_close(vae.decode(normalised), shown, rtol=1e-4, atol=1e-5)
    saved = DiffusersVAE(str(folders[kind]), dtype="float32", latent_mean=mean, latent_std=std)
    assert saved.statistics == vae.statistics


class Nothing:
    """A VAE whose latents are the pictures, so that only the patches are seen."""

    def encode(self, images: torch.Tensor) -> object:
        return SimpleNamespace(latent=images)

    def decode(self, latents: torch.Tensor) -> object:
        return SimpleNamespace(sample=latents)


@pytest.fixture(scope="module")
def three_channels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vae") / "vae"
    return describe_diffusers_vae(folder, _class_name=DC, encoder_block_out_channels=[4], latent_channels=3)


@given(patch_size=st.integers(1, 4), height=st.integers(1, 5), width=st.integers(1, 5), seed=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_patches_are_unfolded_as_they_were_folded(
    three_channels: Path, patch_size: int, height: int, width: int, seed: int
) -> None:
    vae = DiffusersVAE(str(three_channels), patch_size=patch_size, dtype="float32")
    vae.__dict__["_vae"] = Nothing()
    shape = (2, 3, height * patch_size, width * patch_size)
    images = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    latents = vae.encode(images)
    folded = rearrange(images, "B C (H P) (W Q) -> B (C P Q) H W", P=patch_size, Q=patch_size)
    assert torch.equal(latents, folded)
    assert torch.equal(vae.decode(latents), images)


def test_a_cache_is_normalised_by_its_data_and_known_by_the_weights(
    tmp_path: Path, kl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["encoder=diffusers", f"encoder.vae.path={kl}", "encoder.vae.patch_size=2", "encoder.vae.dtype=float32"]
    few = ["data.resolution=32", "data.source.num_records=8", "data.source.num_validation=2"]
    config = compose(*asked, *few, "encoder.storage_dtype=float32")
    opened = open_latents(config, "cpu")
    latents, _ = opened.cache.gather(torch.arange(len(opened.cache)))
    assert latents.shape[1:] == (16, 2, 2)
    torch.testing.assert_close(latents.mean(dim=(0, 2, 3)), torch.zeros(16), atol=1e-3, rtol=0)
    picture = to_tensor(opened.source[0].load())[None]
    torch.testing.assert_close(opened.vae.encode(picture), latents[:1], rtol=1e-4, atol=1e-4)
    again = open_latents(config, "cpu")
    assert again.cache.path == opened.cache.path

    tensors = load_file(kl / WEIGHTS)
    save_file(tensors | {"quant_conv.bias": tensors["quant_conv.bias"] + 1}, kl / WEIGHTS)
    other = open_latents(config, "cpu")
    assert other.cache.path != opened.cache.path
    more_groups = json.loads((kl / "config.json").read_text()) | {"norm_num_groups": 4}
    (kl / "config.json").write_text(json.dumps(more_groups))
    assert open_latents(config, "cpu").cache.path not in (opened.cache.path, other.cache.path)


def test_files_of_a_repository_lie_where_diffsynth_lays_them(
    tmp_path: Path, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFSYNTH_MODEL_BASE_PATH", str(tmp_path))
    monkeypatch.setenv("DIFFSYNTH_SKIP_DOWNLOAD", "True")
    place = describe_diffusers_vae(tmp_path / "owner" / "pipeline" / "vae")
    (place / "config.json").write_bytes((folders[KL] / "config.json").read_bytes())
    vae = DiffusersVAE(model_id="owner/pipeline", subfolder="vae", dtype="float32")
    vae.fetch_files()
    missing = vae.missing_files()
    assert missing is not None
    assert f"hf download owner/pipeline vae/{WEIGHTS} --local-dir {tmp_path}/owner/pipeline" in missing
    (place / WEIGHTS).write_bytes((folders[KL] / WEIGHTS).read_bytes())
    assert vae.missing_files() is None
    images = torch.rand(1, 3, 16, 16)
    assert torch.equal(vae.encode(images), DiffusersVAE(str(folders[KL]), dtype="float32").encode(images))


def test_what_is_not_installed_is_told_with_what_to_do(kl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffusers_vae, "_is_installed", lambda: False)
    vae = DiffusersVAE(str(kl))
    assert vae.missing_files() == (
        'encoder=diffusers: the package diffusers is not installed.\n    pip install -e ".[diffusers]" '
        "-c constraints.txt"
    )
    with pytest.raises(UserError, match="is not installed"):
        vae.encode(torch.zeros(1, 3, 16, 16))


def cut_short(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])


def without_one(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    del tensors["quant_conv.bias"]
    save_file(tensors, folder / WEIGHTS)


def with_two_more(folder: Path) -> None:
    more = {"a": torch.zeros(1), "b": torch.zeros(1)}
    save_file(load_file(folder / WEIGHTS) | more, folder / WEIGHTS)


def of_more_channels(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text()) | {"latent_channels": 8}
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / WEIGHTS).unlink(), "Weights are missing:\n  encoder.vae.path="),
        (cut_short, "incomplete metadata, file not fully covered). Fetch it again."),
        (without_one, "config.json (it lacks quant_conv.bias)."),
        (with_two_more, "config.json (it has a and 1 more)."),
        (of_more_channels, "(size mismatch for "),
    ],
)
def test_files_that_are_missing_damaged_or_of_another_model_are_named(
    kl: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(kl)
    with pytest.raises(UserError) as error:
        DiffusersVAE(str(kl)).encode(torch.zeros(1, 3, 16, 16))
    assert message in str(error.value)
    assert str(kl / WEIGHTS) in str(error.value) or f"has no {WEIGHTS}" in str(error.value)


def test_values_that_there_cannot_be_are_refused(kl: Path) -> None:
    with pytest.raises(UserError, match=r"encoder\.vae\.dtype=float16: must be one of float32, bfloat16"):
        DiffusersVAE(str(kl), dtype="float16")
    with pytest.raises(UserError, match="one number for each of 16 channels"):
        DiffusersVAE(str(kl), patch_size=2, latent_mean=[0.0] * 4, latent_std=[1.0] * 4)
    with pytest.raises(UserError, match="give both, or neither"):
        DiffusersVAE(str(kl), latent_mean=[0.0] * 4)


def test_a_model_card_names_it_by_its_folder_or_its_repository() -> None:
    from aaa.saved.model_card import _needed

    vae = dict.fromkeys(("path", "model_id", "subfolder", "patch_size")) | {"_target_": "aaa.encoders.x.X"}
    assert _needed("vae", vae | {"path": "a/b"}) == "a VAE at a/b (encoder.vae.path in config.json)"
    assert _needed("vae", vae | {"model_id": "a/b"}) == "a/b"
