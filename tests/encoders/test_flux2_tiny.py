"""TAEF2 on randomly initialised files; that the real ones reconstruct pictures is measured, not tested."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from aaa.assembly.parts import build_preview
from aaa.data.buckets import square
from aaa.data.imagefolder import ImageFolderSource
from aaa.encoders.flux2 import Flux2Encoder
from aaa.encoders.flux2_tiny import Flux2TinyVAE
from aaa.encoders.pixel import PixelVAE
from aaa.encoders.tiny_autoencoder import pack, unpack
from aaa.encoders.words import WordEmbedding
from aaa.errors import UserError
from tests.helpers.built_cache import built
from tests.helpers.pretrained import make_taef2


@pytest.fixture
def taef2(tmp_path: Path) -> Path:
    return make_taef2(tmp_path / "taef2")


def test_packing_is_that_of_flux2() -> None:
    from einops import rearrange

    latents = torch.randn(2, 32, 6, 8)
    packed = pack(latents)
    assert torch.equal(packed, rearrange(latents, "B C (H P) (W Q) -> B (C P Q) H W", P=2, Q=2))
    assert torch.equal(unpack(packed), latents)


def test_it_encodes_to_a_sixteenth_and_back(taef2: Path) -> None:
    vae = Flux2TinyVAE(str(taef2))
    assert vae.missing_files() is None
    latents = vae.encode(torch.rand(2, 3, 32, 48) * 2 - 1)
    assert latents.shape == (2, 128, 2, 3)
    assert latents.dtype == torch.float32
    assert vae.decode(latents).shape == (2, 3, 32, 48)


def test_the_names_under_which_it_is_published_are_known(taef2: Path) -> None:
    expected = Flux2TinyVAE(str(taef2)).encode(torch.zeros(1, 3, 16, 16))
    for name in ("encoder", "decoder"):
        (taef2 / f"{name}.safetensors").rename(taef2 / f"taef2_{name}.safetensors")
    assert torch.equal(Flux2TinyVAE(str(taef2)).encode(torch.zeros(1, 3, 16, 16)), expected)


def test_a_cache_normalises_by_the_statistics_of_its_data(
    tmp_path: Path, taef2: Path, picture_folder: Callable[..., Path]
) -> None:
    source = ImageFolderSource(str(picture_folder(count=12, size=64)))
    vae = Flux2TinyVAE(str(taef2), dtype="float32")
    cache = built(
        tmp_path / "cache",
        source,
        lambda: (vae, WordEmbedding(32, 6)),
        fingerprint="x",
        recipe="y",
        identify=lambda record: record.key,
        fit=square(64),
        horizontal_flip=False,
        skip_unreadable=False,
        storage_dtype=torch.float32,
        batch_size=5,
        origin={},
    )
    latents, _ = cache.gather(torch.arange(12))
    torch.testing.assert_close(latents.mean(dim=(0, 2, 3)), torch.zeros(128), atol=1e-3, rtol=0)
    assert (latents.var(dim=(0, 2, 3), unbiased=False) <= 1 + 1e-4).all()
    raw, vae.statistics = cache._latents[0], cache.statistics
    torch.testing.assert_close(vae.decode(latents), Flux2TinyVAE(str(taef2), dtype="float32").decode(raw))
    assert cache.statistics is not None
    saved = Flux2TinyVAE(str(taef2), "float32", list(cache.statistics.mean), list(cache.statistics.std))
    assert saved.statistics == cache.statistics
    images = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(saved.encode(images), vae.encode(images))


def test_it_previews_what_flux2s_vae_would_decode(tmp_path: Path, taef2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFSYNTH_MODEL_BASE_PATH", str(tmp_path))
    file = tmp_path / "owner" / "vae.safetensors"
    file.parent.mkdir()
    mean, variance = torch.randn(128), torch.rand(128)
    save_file({"bn.running_mean": mean, "bn.running_var": variance}, file)
    preview = build_preview(Flux2Encoder("owner", "vae.safetensors"), str(taef2))
    normalised = torch.randn(1, 128, 2, 2)
    raw = normalised * (variance + 1e-4).sqrt()[:, None, None] + mean[:, None, None]
    torch.testing.assert_close(preview.decode(normalised), Flux2TinyVAE(str(taef2)).decode(raw))
    with pytest.raises(UserError, match=r"only latents of FLUX\.2's VAE"):
        build_preview(PixelVAE(4), str(taef2))
    with pytest.raises(UserError, match=r"nowhere/encoder.safetensors .*\n.*nowhere/decoder"):
        build_preview(Flux2Encoder("owner", "vae.safetensors"), "nowhere")
    file.write_bytes(b"cut short")
    with pytest.raises(UserError, match=r"not the whole weights of FLUX\.2's VAE"):
        build_preview(Flux2Encoder("owner", "vae.safetensors"), str(taef2))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: file.unlink(), "Weights are missing"),
        (lambda file: file.write_bytes(file.read_bytes()[:-100]), "not a whole safetensors file"),
        (lambda file: save_file({"0.weight": torch.zeros(3)}, file), "not TAEF2's weights"),
    ],
)
def test_broken_files_are_named(taef2: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(taef2 / "encoder.safetensors")
    with pytest.raises(UserError, match=message) as error:
        Flux2TinyVAE(str(taef2)).encode(torch.zeros(1, 3, 16, 16))
    assert "encoder.safetensors" in str(error.value)


def test_statistics_must_fit() -> None:
    with pytest.raises(UserError, match="each of 128 channels"):
        Flux2TinyVAE("x", latent_mean=[0.0], latent_std=[1.0])
    for one in ({"latent_mean": [0.0] * 128}, {"latent_std": [1.0] * 128}):
        with pytest.raises(UserError, match=r"encoder\.vae\.latent_mean, latent_std: give both, or neither"):
            Flux2TinyVAE("x", **one)  # type: ignore[arg-type]
