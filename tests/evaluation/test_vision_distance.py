"""Distances in features of vision models, on randomly initialised ones in the true file layout."""

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy import linalg
from torch import Tensor

from aaa.data.cache import LatentCache
from aaa.encoders.pixel import PixelVAE
from aaa.errors import UserError
from aaa.evaluation.evaluated_model import EvaluatedModel
from aaa.evaluation.protocol import NotApplicable
from aaa.evaluation.sharing import Alone, Processes
from aaa.evaluation.vision_distance import VisionFrechetDistance, VisionMeanDiscrepancy
from aaa.evaluation.vision_embedding import VisionEmbedding
from tests.evaluation.test_evaluations import DRAWN, cache, evaluated
from tests.evaluation.test_pretrained import Blurred, with_source
from tests.helpers.pretrained import VISION_SIDE, VISION_WIDTH, make_vision_model
from tests.helpers.side_by_side import side_by_side

__all__ = ["cache"]

PROJECTED = 24  # numbers of an image embedding of the small CLIP


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of each kind of model, by its name."""
    import transformers as hf

    folder = tmp_path_factory.mktemp("models")
    for kind in ("dinov2", "registers", "vit", "siglip"):
        make_vision_model(folder / kind, kind)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = hf.CLIPConfig(
        text_config=sizes | {"vocab_size": 50, "max_position_embeddings": 8},
        vision_config=sizes | {"image_size": VISION_SIDE, "patch_size": 7},
        projection_dim=PROJECTED,  # the half that sees pictures says 512 of itself
    )
    torch.manual_seed(0)
    clip = hf.CLIPModel(config)
    with torch.no_grad():
        for parameter in clip.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    square = {"height": VISION_SIDE, "width": VISION_SIDE}
    processor = hf.CLIPImageProcessor(size={"shortest_edge": VISION_SIDE}, crop_size=square)
    clip.save_pretrained(folder / "clip-small_1")
    processor.save_pretrained(folder / "clip-small_1")
    config.vision_config.projection_dim = PROJECTED
    half = hf.CLIPVisionModelWithProjection.from_pretrained(folder / "clip-small_1", config=config.vision_config)
    half.config.save_pretrained(folder / "half")
    torch.save(half.state_dict(), folder / "half" / "pytorch_model.bin")  # published CLIPs may have no safetensors
    processor.save_pretrained(folder / "half")
    return folder


def some_pictures(count: int, height: int = 40, width: int = 40, seed: int = 0) -> list[Image.Image]:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    return [Image.fromarray(of_one) for of_one in pixels]


def as_published(folder: Path, pictures: Sequence[Image.Image]) -> Tensor:
    """What EDM2's detector does to pictures, with the model's own mean and standard deviation."""
    said = json.loads((folder / "preprocessor_config.json").read_text())
    bytes_ = torch.from_numpy(np.stack([np.array(picture) for picture in pictures])).permute(0, 3, 1, 2)
    side = (VISION_SIDE, VISION_SIDE)
    pixels = torch.nn.functional.interpolate(bytes_.float(), size=side, mode="bicubic", antialias=True) / 255
    mean, deviation = (torch.tensor(said[f"image_{name}"]).view(1, -1, 1, 1) for name in ("mean", "std"))
    return (pixels - mean) / deviation


@torch.no_grad()
def by_transformers(folder: Path, pictures: Sequence[Image.Image]) -> Tensor:
    """The features by a plain call of the whole model."""
    import transformers as hf

    model: Any = hf.AutoModel.from_pretrained(folder).eval()
    pixels = as_published(folder, pictures)
    if hasattr(model, "get_image_features"):
        embedding = model.get_image_features(pixel_values=pixels)
        return embedding if isinstance(embedding, Tensor) else embedding.pooler_output
    whole: Tensor = model(pixel_values=pixels).last_hidden_state
    return whole[:, 0]


@pytest.mark.parametrize(
    ("kind", "width"),
    [("dinov2", VISION_WIDTH), ("registers", VISION_WIDTH), ("siglip", VISION_WIDTH), ("clip-small_1", PROJECTED)],
)
def test_features_are_the_class_token_or_the_image_embedding(models: Path, kind: str, width: int) -> None:
    pictures = some_pictures(5)
    features = VisionEmbedding("key", str(models / kind), "owner/model")
    found = features(pictures)
    assert found.shape == (5, features.width) == (5, width)
    torch.testing.assert_close(found, by_transformers(models / kind, pictures), rtol=1e-4, atol=1e-4)


def test_the_half_of_clip_that_sees_pictures_is_enough(models: Path) -> None:
    pictures = some_pictures(3)
    whole, half = (VisionEmbedding("key", str(models / name), "owner/model") for name in ("clip-small_1", "half"))
    assert torch.equal(half(pictures), whole(pictures))
    assert (half.width, half.name, whole.name) == (PROJECTED, "half", "clipsmall1")


def test_pictures_of_all_sizes_are_looked_at_whole(models: Path) -> None:
    wide, tall = some_pictures(2, 20, 60), some_pictures(1, 60, 20)
    features = VisionEmbedding("key", str(models / "dinov2"), "owner/model")
    found = features([wide[0], tall[0], wide[1]])
    torch.testing.assert_close(found[1], by_transformers(models / "dinov2", tall)[0], rtol=1e-4, atol=1e-4)
    edge = np.array(wide[1])
    edge[:, :5] = 0
    assert not torch.allclose(features([Image.fromarray(edge)])[0], found[2], rtol=0.01)


def noise_of(cache: LatentCache) -> EvaluatedModel:
    draws = torch.Generator().manual_seed(0)
    return evaluated(cache, lambda records: torch.randn(len(records), *cache.shapes[0], generator=draws))


def seen_by(folder: Path, one: EvaluatedModel, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of drawn pictures and of real ones, as a program of one's own has them."""
    drawn = by_transformers(folder, one.draw_spread("train", count).images)
    real = by_transformers(folder, [one.picture(record) for record in one.real("train", 400).records.tolist()])
    return drawn.double().numpy(), real.double().numpy()


def test_the_frechet_distance_is_that_of_edm2(models: Path, cache: LatentCache, caplog: Any) -> None:
    one = noise_of(cache)
    with caplog.at_level(logging.INFO):
        metrics = VisionFrechetDistance(str(models / "registers"), 60, 400).evaluate(one)
    drawn, real = seen_by(models / "registers", one, 60)
    a, b = np.cov(drawn, rowvar=False), np.cov(real, rowvar=False)
    mean = np.square(drawn.mean(0) - real.mean(0)).sum()
    expected = mean + np.trace(a + b - 2 * linalg.sqrtm(a @ b).real)
    assert metrics["quality/fd_registers"] == pytest.approx(expected, rel=1e-4)
    assert set(metrics) == {f"quality/{name}_registers" for name in ("fd", "kd")} | {
        "quality/kd_registers_standard_error"
    }
    told = {"split": "train", "reference": "decoded", "drawn": 60, "real": 400}
    assert one.compared == dict.fromkeys(metrics, told)
    said = f"fd_registers {metrics['quality/fd_registers']:.2f} (60 drawn for training prompts, against 400 training"
    assert caplog.messages[-1].startswith(said)
    with caplog.at_level(logging.INFO):
        VisionFrechetDistance(str(models / "registers"), VISION_WIDTH, 400).evaluate(one)
    assert "fd_registers: 16 pictures cannot fill a covariance of 16 features" in caplog.messages[-1]


def test_the_mean_discrepancy_is_that_of_a_plain_double_loop(models: Path, cache: LatentCache) -> None:
    one = noise_of(cache)
    folder = models / "clip-small_1"
    metrics = VisionMeanDiscrepancy(str(folder), 20, 400).evaluate(one)
    sets = [vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in seen_by(folder, one, 20)]

    def mean_kernel(some: np.ndarray, others: np.ndarray) -> float:
        pairs = [(x, y) for i, x in enumerate(some) for j, y in enumerate(others) if some is not others or i != j]
        return float(np.mean([np.exp(-np.square(x - y).sum() / (2 * 10**2)) for x, y in pairs]))

    drawn, real = sets
    expected = 1000 * (mean_kernel(drawn, drawn) + mean_kernel(real, real) - 2 * mean_kernel(drawn, real))
    assert metrics["quality/mmd_clipsmall1"] == pytest.approx(expected, rel=1e-3)
    assert [*metrics] == ["quality/mmd_clipsmall1", "quality/mmd_clipsmall1_standard_error"]


def test_only_the_middle_square_counts_in_cmmd(models: Path) -> None:
    (picture,) = some_pictures(1, 20, 60)
    middle = picture.crop((20, 0, 40, 20))
    evaluation = VisionMeanDiscrepancy(str(models / "clip-small_1"))
    assert torch.equal(evaluation._look([picture]), evaluation._look([middle]))


def test_original_pictures_say_what_a_lossy_vae_hides(models: Path, cache: LatentCache) -> None:
    found: dict[str, float] = {}
    for reference in ("decoded", "original"):
        for evaluation in (VisionFrechetDistance, VisionMeanDiscrepancy):
            one = with_source(cache, Blurred(4))
            told: dict[str, Any] = {"split": "validation", "reference": reference}
            metrics = evaluation(str(models / "vit"), 400, 400, **told).evaluate(one)
            told |= {"drawn": DRAWN, "real": DRAWN}
            assert one.compared == dict.fromkeys(metrics, told)
            found |= metrics
    decoded, original = (
        {name: found[f"quality/{name}_vit-validation{ending}"] for name in ("fd", "kd", "mmd")}
        for ending in ("", "-original")
    )
    assert decoded["fd"] == pytest.approx(0, abs=1e-6), "the loss is in both"
    assert all(original[name] > decoded[name] + 1e-3 for name in decoded)


def test_a_file_of_features_is_compared_with(models: Path, cache: LatentCache, tmp_path: Path) -> None:
    one, folder = noise_of(cache), models / "siglip"
    _, real = seen_by(folder, one, 60)
    np.savez(tmp_path / "coco val.npz", mu=real.mean(0), sigma=np.cov(real, rowvar=False))
    np.save(tmp_path / "coco.npy", 3 * real.astype(np.float32))
    frechet = VisionFrechetDistance(str(folder), 60, 400, reference=str(tmp_path / "coco val.npz"))
    ((name, value),) = frechet.evaluate(one).items()
    assert name.startswith("quality/fd_siglip-coco_val-")
    assert value == pytest.approx(VisionFrechetDistance(str(folder), 60, 400).evaluate(one)["quality/fd_siglip"], 1e-4)
    mmd = VisionMeanDiscrepancy(str(folder), 60, 400, reference=str(tmp_path / "coco.npy"))
    found = mmd.evaluate(one)
    name = next(iter(found))
    assert name.startswith("quality/mmd_siglip-coco-")
    usual = VisionMeanDiscrepancy(str(folder), 60, 400).evaluate(one)["quality/mmd_siglip"]
    assert found[name] == pytest.approx(usual, rel=1e-3)
    assert one.compared[name] == {
        **{"split": "train", "reference": str(tmp_path / "coco.npy")},
        **{"drawn": 60, "real": None},
    }


def test_a_file_of_other_features_is_refused_at_once(models: Path, tmp_path: Path) -> None:
    of_inception, rows = str(tmp_path / "fid.npz"), str(tmp_path / "rows.npy")
    np.savez(of_inception, mu=np.zeros(2048), sigma=np.eye(2048))
    dino, clip = str(models / "dinov2"), str(models / "clip-small_1")
    said = rf"fid\.npz: mu is 2048, and must be 16: mean and covariance of the 16 features of {dino}\."
    with pytest.raises(UserError, match=said):
        VisionFrechetDistance(dino, reference=of_inception)
    with pytest.raises(UserError, match=r"fid\.npz: VisionMeanDiscrepancy compares with a file that ends in \.npy"):
        VisionMeanDiscrepancy(clip, reference=of_inception)
    for shape, told in (((5, 768), "5 x 768"), ((1, 24), "1 x 24"), ((24,), "24")):
        np.save(rows, np.zeros(shape))
        with pytest.raises(UserError, match=rf"rows\.npy: is {told}, and must be N x 24: .* the 24 features of {clip}"):
            VisionMeanDiscrepancy(clip, reference=rows)
    np.save(rows, np.full((3, 24), np.nan))
    with pytest.raises(UserError, match=r"rows\.npy: has numbers that are not finite"):
        VisionMeanDiscrepancy(clip, reference=rows)
    Path(rows).write_bytes(b"no array")
    with pytest.raises(UserError, match=r"rows\.npy: cannot be read as a file of numpy's"):
        VisionMeanDiscrepancy(clip, reference=rows)
    with pytest.raises(UserError, match=r"reference=orginal: must be .* or a file of features that ends in \.npy"):
        VisionMeanDiscrepancy(clip, reference="orginal")


def describe(folder: Path, config: Any, processor: Any) -> str:
    """A model as its files say it is, without its weights."""
    config.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


def test_only_the_published_models_have_the_published_names(models: Path, tmp_path: Path) -> None:
    import transformers as hf

    large: dict[str, Any] = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "patch_size": 14}

    def dino(name: str, side: int = 224, **config: Any) -> VisionFrechetDistance:
        processor = hf.BitImageProcessor(size={"shortest_edge": 256}, crop_size={"height": side, "width": side})
        config = large | {"image_size": 518} | config
        return VisionFrechetDistance(describe(tmp_path / name, hf.Dinov2Config(**config), processor))

    def clip(name: str, side: int = 336, **config: Any) -> VisionMeanDiscrepancy:
        sees = large | {"image_size": side, "intermediate_size": 4096} | config
        both = hf.CLIPConfig(vision_config=sees, projection_dim=768)
        processor = hf.CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
        return VisionMeanDiscrepancy(describe(tmp_path / name, both, processor))

    assert (dino("any").has_usual, clip("any_other").has_usual) == (True, True)
    assert dino("any").features.width == 1024
    assert not dino("larger", side=448).has_usual
    assert not dino("deeper", num_hidden_layers=40).has_usual
    assert not clip("smaller", side=224).has_usual
    assert not clip("laion", hidden_act="gelu").has_usual
    assert dino("any")._model() == "dinov2"
    assert dino("dinov2-base", hidden_size=768)._model() == "dinov2base"
    assert VisionFrechetDistance(str(models / "dinov2"))._model() == "dinov2width16", "the name is taken"


@pytest.mark.parametrize("evaluation", [VisionFrechetDistance, VisionMeanDiscrepancy])
def test_any_number_of_processes_finds_the_same(models: Path, cache: LatentCache, evaluation: Any) -> None:
    judge = evaluation(str(models / "vit"), DRAWN, 100)

    def program(processes: Processes) -> dict[str, float]:
        one = evaluated(cache, lambda records: cache.gather((records + 7) % 448)[0] * 0.9)
        one.drawer.processes = processes
        found: dict[str, float] = judge.evaluate(one)
        return found

    alone = program(Alone())
    for found in side_by_side(2, program):
        assert found == pytest.approx(alone, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), r"no vision model there .*To fetch one: hf download OWNER"),
        (lambda folder: (folder / "config.json").write_text("{"), r"its config\.json cannot be read"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "its image processor cannot be loaded"),
        (lambda folder: (folder / "model.safetensors").unlink(), "transformers cannot load it"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"cut"), "transformers cannot load it"),
        (lambda folder: save_file({"x": torch.zeros(1)}, folder / "model.safetensors"), "its files have no "),
    ],
)
@pytest.mark.parametrize("kind", ["dinov2", "clip-small_1"])
def test_a_folder_that_is_not_whole_is_found_before_anything_is_drawn(
    models: Path, cache: LatentCache, tmp_path: Path, kind: str, spoil: Callable[[Path], object], message: str
) -> None:
    folder = tmp_path / kind
    shutil.copytree(models / kind, folder)
    spoil(folder)
    usual = VisionFrechetDistance.usual.repository
    with pytest.raises(UserError, match=f"VisionFrechetDistance path={folder}: {message.replace('OWNER', usual)}"):
        VisionFrechetDistance(str(folder)).check(evaluated(cache, lambda _: pytest.fail("it was drawn")))


def test_what_cannot_be_compared_is_said(models: Path, cache: LatentCache, tmp_path: Path) -> None:
    import transformers as hf

    folder = str(models / "vit")
    one = evaluated(cache, lambda _: pytest.fail("it was drawn"))
    one.records["validation"] = one.records["validation"][:2]
    with pytest.raises(UserError, match=r"evaluation\.split=validation: of the records 2 are held out"):
        VisionFrechetDistance(folder, split="validation").check(one)
    one.records["train"] = one.records["train"][:2]
    with pytest.raises(NotApplicable, match="Of 2 pictures no distribution can be told; it takes 3"):
        VisionMeanDiscrepancy(folder).check(one)
    with pytest.raises(UserError, match="VisionMeanDiscrepancy num_real=2: must be at least 3"):
        VisionMeanDiscrepancy(folder, num_real=2)
    # Weights that pool are not made up.
    poolless = tmp_path / "poolless"
    poolless.mkdir()
    for name in ("config.json", "preprocessor_config.json"):
        (poolless / name).write_bytes((models / "vit" / name).read_bytes())
    tensors = load_file(models / "vit" / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("pooler.")}
    save_file(kept, poolless / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"its files have no pooler\.dense\.bias"):
        VisionFrechetDistance(str(poolless)).check(evaluated(cache, lambda _: pytest.fail("it was drawn")))
    bert = hf.BertModel(hf.BertConfig(vocab_size=16, hidden_size=16, num_hidden_layers=1, num_attention_heads=1))
    bert.save_pretrained(tmp_path / "text")
    text = describe(tmp_path / "text", bert.config, hf.ViTImageProcessor())
    with pytest.raises(UserError, match="BertModel sees no pictures"):
        VisionFrechetDistance(text).check(evaluated(cache, lambda _: pytest.fail("it was drawn")))


def test_a_perfect_model_is_told_from_noise(models: Path, cache: LatentCache) -> None:
    perfect = evaluated(cache, lambda records: cache.gather(records)[0])
    assert isinstance(perfect.drawer.vae, PixelVAE)
    for evaluation in (VisionFrechetDistance, VisionMeanDiscrepancy):
        judge = evaluation(str(models / "siglip"), 60, 400)
        of_perfect, of_noise = (judge.evaluate(of) for of in (perfect, noise_of(cache)))
        for metric in of_perfect:
            if not metric.endswith("_standard_error"):
                assert of_perfect[metric] < of_noise[metric] / 10
