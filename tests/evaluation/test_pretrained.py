"""Scores by pretrained networks, on randomly initialised ones in the true file layout."""

import json
import logging
import pickle
import re
import string
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from aaa.data.buckets import square
from aaa.data.cache import LatentCache
from aaa.data.shapes import ShapesSource
from aaa.encoders.pixel import PixelVAE
from aaa.errors import UserError
from aaa.evaluation import reference
from aaa.evaluation.batched_features import as_bytes, by_size
from aaa.evaluation.diversity import Diversity
from aaa.evaluation.evaluated_model import EvaluatedModel
from aaa.evaluation.latent_distance import LatentDistance
from aaa.evaluation.pretrained import ClipScore, InceptionDistance
from aaa.evaluation.protocol import NotApplicable
from aaa.evaluation.several import Several
from aaa.evaluation.sharing import Alone
from aaa.evaluation.source_pictures import EncodedSource, OriginalsGone, SourcePictures
from tests.evaluation.test_evaluations import DRAWN, cache, evaluated
from tests.helpers.inception import save_inception

__all__ = ["cache"]

T = TypeVar("T")

pytest.importorskip("torchmetrics")


def save_clip(folder: Path) -> None:
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    letters = [*string.ascii_lowercase, *(letter + "</w>" for letter in string.ascii_lowercase)]
    words = {word: place for place, word in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])}
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(words))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"bos_token_id": words["<|startoftext|>"], "eos_token_id": words["<|endoftext|>"]}
    config = CLIPConfig(
        text_config=size | ends | {"vocab_size": len(words)},
        vision_config=size | {"image_size": 32, "patch_size": 16},
        projection_dim=8,
    )
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(images, tokenizer).save_pretrained(folder)


@pytest.mark.slow
def test_the_clip_score_of_the_data_is_that_of_a_model_that_draws_it(cache: LatentCache, tmp_path: Path) -> None:
    save_clip(tmp_path / "clip")
    perfect = evaluated(cache, lambda records: cache.gather(records)[0])
    metrics = ClipScore(str(tmp_path / "clip"), num_images=48).evaluate(perfect)
    assert metrics["quality/clip_score"] == pytest.approx(metrics["quality/clip_score_real"], abs=0.1)


def test_there_is_no_clip_score_of_no_records(cache: LatentCache, tmp_path: Path) -> None:
    save_clip(tmp_path / "clip")
    none = evaluated(cache, lambda _: pytest.fail("it was drawn"))
    none.records["train"] = none.records["train"][:0]
    evaluation = ClipScore(str(tmp_path / "clip"), split="train")
    for look in (evaluation.check, evaluation.evaluate):
        with pytest.raises(NotApplicable, match="There are no training prompts to draw for"):
            look(none)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "transformers cannot load it"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"cut short"), "transformers cannot load it"),
        (lambda folder: (folder / "processor_config.json").write_text("{"), "transformers cannot load it"),
        (lambda folder: save_file({"x": torch.zeros(1)}, folder / "model.safetensors"), "its files have no "),
    ],
)
def test_a_clip_folder_that_is_not_whole_is_found_before_anything_is_drawn(
    cache: LatentCache, tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    save_clip(tmp_path / "clip")
    spoil(tmp_path / "clip")
    evaluation = ClipScore(str(tmp_path / "clip"))
    for look in (evaluation.check, evaluation.evaluate):
        with pytest.raises(UserError, match=f"ClipScore path={tmp_path / 'clip'}: {message}"):
            look(evaluated(cache, lambda _: pytest.fail("it was drawn")))


def test_inception_weights_that_are_not_whole_are_found_before_anything_is_drawn(
    cache: LatentCache, tmp_path: Path
) -> None:
    for content in (b"cut short", None):
        if content is None:
            torch.save({"x": torch.zeros(1)}, tmp_path / "inception.pth")
        else:
            (tmp_path / "inception.pth").write_bytes(content)
        evaluation = InceptionDistance(str(tmp_path / "inception.pth"))
        for look in (evaluation.check, evaluation.evaluate):
            with pytest.raises(UserError, match=r"weights=.*inception\.pth: not the weights of .*Fetch them again"):
                look(evaluated(cache, lambda _: pytest.fail("it was drawn")))


class MeanColour(torch.nn.Module):
    """In place of the inception network: what it sees of a picture is its mean colour at each of two heights."""

    def forward(self, pictures: Tensor) -> Tensor:
        assert pictures.dtype == torch.uint8
        return torch.nn.functional.adaptive_avg_pool2d(pictures.float(), (2, 1)).flatten(1)


def inception_of(
    network: torch.nn.Module, folder: Path, num_images: int, num_real: int, **told: str
) -> InceptionDistance:
    (folder / "inception.pth").touch()
    evaluation = InceptionDistance(str(folder / "inception.pth"), num_images, num_real, **told)
    vars(evaluation)["_network"] = network
    return evaluation


def test_the_error_of_kid_is_how_much_it_is_off_with_other_drawn_pictures(cache: LatentCache, tmp_path: Path) -> None:
    """Subsets of 1000, of fewer pictures, would all be the same."""
    found = [
        inception_of(MeanColour(), tmp_path, 40, 400).evaluate(
            evaluated(cache, lambda records, first=first: cache.gather((7 * records + first) % 400)[0])  # type: ignore[misc]
        )
        for first in range(0, 200, 10)
    ]
    assert set(found[0]) == {"quality/fid", "quality/kid", "quality/kid_standard_error"}
    true = torch.tensor([metrics["quality/kid"] for metrics in found]).std().item()
    told = sum(metrics["quality/kid_standard_error"] for metrics in found) / len(found)
    assert told == pytest.approx(true, rel=0.6)


def test_what_a_network_says_of_a_picture_does_not_depend_on_the_sizes_of_others() -> None:
    images = [Image.radial_gradient("L").convert("RGB").resize(size) for size in ((8, 16), (16, 8), (8, 16))]
    network = MeanColour()

    def look(some: Sequence[Image.Image]) -> Tensor:
        seen: Tensor = network(as_bytes(some))
        return seen

    alone = torch.cat([look([image]) for image in images])
    assert not torch.equal(alone[0], alone[1])
    assert torch.equal(by_size(images, look), alone)


@pytest.mark.parametrize(("num_images", "num_real"), [(2, 48), (48, 2)])
def test_two_pictures_have_no_distance_of_which_an_error_is_known(
    cache: LatentCache, tmp_path: Path, num_images: int, num_real: int
) -> None:
    with pytest.raises(NotApplicable, match="Of 2 pictures no distribution can be told; it takes 3"):
        inception_of(MeanColour(), tmp_path, num_images, num_real).check(
            evaluated(cache, lambda _: pytest.fail("it was drawn"))
        )


class Blurred(PixelVAE):
    """A VAE that keeps of each square of pixels its mean colour alone."""

    def decode(self, latents: Tensor) -> Tensor:
        mean = super().decode(latents).unfold(2, 4, 4).unfold(3, 4, 4).mean((-1, -2))
        return mean.repeat_interleave(4, 2).repeat_interleave(4, 3)


class Edges(torch.nn.Module):
    """In place of the inception network: how much neighbouring pixels differ, across and down."""

    def forward(self, pictures: Tensor) -> Tensor:
        return torch.stack([pictures.float().diff(dim=dim).abs().mean((1, 2, 3)) for dim in (2, 3)], 1)


def with_source(cache: LatentCache, vae: PixelVAE) -> EvaluatedModel:
    """A model that draws the data, of which the pictures are there."""
    source = ShapesSource(16, num_records=400, num_validation=DRAWN)
    one = evaluated(cache, lambda records: cache.gather(records)[0])
    one.drawer.vae = vae
    one.source_pictures = SourcePictures([EncodedSource(lambda: source, cache.records, range(len(cache)), square(16))])
    return one


@pytest.mark.parametrize("split", ["train", "validation"])
def test_of_a_lossy_vae_original_pictures_say_what_decoded_ones_hide(
    cache: LatentCache, tmp_path: Path, split: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fid(vae: PixelVAE, reference: str) -> float:
        one = with_source(cache, vae)
        with caplog.at_level(logging.INFO):
            metrics = inception_of(Edges(), tmp_path, 400, 400, split=split, reference=reference).evaluate(one)
        kind = ("-validation" if split == "validation" else "") + ("-original" if reference == "original" else "")
        assert set(metrics) == {f"quality/{name}" for name in (f"fid{kind}", f"kid{kind}", f"kid{kind}_standard_error")}
        count = {"train": 400, "validation": DRAWN}[split]
        told = {"split": split, "reference": reference, "drawn": count, "real": count}
        assert one.compared == dict.fromkeys(metrics, told)
        return metrics[f"quality/fid{kind}"]

    lossless, lossy = ({of: fid(vae, of) for of in ("decoded", "original")} for vae in (PixelVAE(4), Blurred(4)))
    assert lossy["decoded"] == pytest.approx(0, abs=1e-6), "the loss is in both"
    assert lossy["original"] > 1
    assert lossless["original"] == pytest.approx(lossless["decoded"], abs=1e-3)
    what = {"train": "training", "validation": "held-out"}[split]
    said = rf"\d+ drawn for {what} prompts, against \d+ {what} pictures as they are in the data set"
    assert re.match(rf"FID \d+\.\d\d \({said}\), KID", caplog.messages[-1])


def test_published_statistics_are_compared_with_by_fid_alone(
    cache: LatentCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "INCEPTION_FEATURES", 2)
    noise = evaluated(cache, lambda records: torch.randn(len(records), *cache.shapes[0]))
    found = inception_of(Edges(), tmp_path, 400, 400).evaluate(noise)
    real = torch.cat(
        [Edges()(as_bytes([noise.picture(record)])) for record in noise.records["train"].tolist()]
    ).double()
    np.savez(tmp_path / "coco.npz", mu=real.mean(0).numpy(), sigma=real.T.cov().numpy())
    by_file = inception_of(Edges(), tmp_path, 400, 400, reference=str(tmp_path / "coco.npz"))
    ((name, value),) = by_file.evaluate(noise).items()
    assert re.fullmatch(r"quality/fid-coco-[0-9a-f]{8}", name)
    assert value == pytest.approx(found["quality/fid"], rel=1e-6)
    told = {"split": "train", "reference": str(tmp_path / "coco.npz"), "drawn": 400, "real": None}
    assert noise.compared[name] == told


def test_too_few_that_are_held_out_are_an_error_before_anything_is_drawn(cache: LatentCache, tmp_path: Path) -> None:
    one = evaluated(cache, lambda _: pytest.fail("it was drawn"))
    one.records["validation"] = one.records["validation"][:2]
    fid = inception_of(MeanColour(), tmp_path, 48, 48, split="validation")
    latents = LatentDistance(split="validation")
    for evaluation, what, least in ((fid, "FID", 3), (latents, "a distance of latents", 8)):
        said = rf"evaluation\.split=validation: of the records 2 are held out, and {what} takes {least} at least"
        for look in (evaluation.check, evaluation.evaluate, Several({"a": Diversity(), "b": evaluation}).evaluate):
            with pytest.raises(UserError, match=said):
                look(one)


def test_a_picture_that_is_gone_ends_the_evaluation_in_every_process(cache: LatentCache, tmp_path: Path) -> None:
    class Asking(Alone):
        """Sees that there is something to tell the others, whoever has found it."""

        told = 0

        def exchange(self, part: T) -> list[T]:
            self.told += 1
            return [pickle.loads(pickle.dumps(part))]

    one = with_source(cache, PixelVAE(4))
    asking = one.drawer.processes = Asking()
    fid = inception_of(MeanColour(), tmp_path, 48, 400, reference="original")
    fid.check(one)
    (part,) = one.source_pictures.parts
    shorter = ShapesSource(16, num_records=399, num_validation=DRAWN)
    one.source_pictures = SourcePictures([replace(part, open=lambda: shorter)])
    with pytest.raises(OriginalsGone, match=r"evaluation\.reference=original: the picture of record .* cannot be read"):
        fid.evaluate(one)
    assert asking.told == 2, "once for what is drawn"
    one.source_pictures = SourcePictures()
    with pytest.raises(OriginalsGone, match="of data=cache there are the latents alone"):
        fid.check(one)


@pytest.mark.slow
def test_the_clip_score_says_whose_prompts_and_which_pictures(cache: LatentCache, tmp_path: Path) -> None:
    save_clip(tmp_path / "clip")
    one, path = with_source(cache, Blurred(4)), str(tmp_path / "clip")
    usual, asked = (ClipScore(path, 8, split=split).evaluate(one) for split in (None, "validation"))
    assert asked == usual
    original = ClipScore(path, 8, reference="original").evaluate(one)
    assert original["quality/clip_score"] == usual["quality/clip_score"]
    assert original["quality/clip_score_real-original"] != usual["quality/clip_score_real"]
    trained = ClipScore(path, 8, split="train", reference="original").evaluate(one)
    assert [*trained] == ["quality/clip_score-train", "quality/clip_score-train_real-original"]
    assert one.compared["quality/clip_score-train"] == {
        **{"split": "train", "reference": "original"},
        **{"drawn": 8, "real": 8},
    }


@pytest.mark.slow
def test_fid_and_kid_are_those_of_a_network_on_disk(cache: LatentCache, tmp_path: Path) -> None:
    weights = tmp_path / "inception.pth"
    save_inception(weights)
    perfect = evaluated(cache, lambda records: cache.gather(records)[0])
    noise = evaluated(cache, lambda records: torch.randn(len(records), *cache.shapes[0]))
    of_perfect, of_noise = (InceptionDistance(str(weights), 24, 24).evaluate(of) for of in (perfect, noise))
    assert of_perfect["quality/fid"] < of_noise["quality/fid"]
    assert of_perfect["quality/kid"] < of_noise["quality/kid"]


@pytest.mark.slow
def test_what_is_put_beside_published_figures_is_scaled_as_they_were(tmp_path: Path) -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    weights = tmp_path / "inception.pth"
    save_inception(weights)
    published = FeatureExtractorInceptionV3("published", ["2048"], feature_extractor_weights_path=str(weights))
    pictures = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    (right,) = published(pictures)
    original = InceptionDistance(str(weights), reference="original")._network(pictures)
    torch.testing.assert_close(original, right)
    decoded = InceptionDistance(str(weights))._network(pictures)
    assert not torch.allclose(decoded, right, rtol=0.01)
