"""Scores by pretrained networks, on randomly initialised ones in the true file layout."""

import json
import string
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from aaa.data.cache import LatentCache
from aaa.errors import UserError
from aaa.evaluation.pretrained import ClipScore, InceptionDistance, _by_size, _bytes
from aaa.evaluation.protocol import NotApplicable
from tests.evaluation.test_evaluations import cache, evaluated

__all__ = ["cache"]

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


def inception_of(network: torch.nn.Module, folder: Path, num_images: int, num_real: int) -> InceptionDistance:
    (folder / "inception.pth").touch()
    evaluation = InceptionDistance(str(folder / "inception.pth"), num_images, num_real)
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
        seen: Tensor = network(_bytes(some))
        return seen

    alone = torch.cat([look([image]) for image in images])
    assert not torch.equal(alone[0], alone[1])
    assert torch.equal(_by_size(images, look), alone)


@pytest.mark.parametrize(("num_images", "num_real"), [(2, 48), (48, 2)])
def test_two_pictures_have_no_distance_of_which_an_error_is_known(
    cache: LatentCache, tmp_path: Path, num_images: int, num_real: int
) -> None:
    with pytest.raises(NotApplicable, match="Of 2 pictures no distribution can be told; it takes 3"):
        inception_of(MeanColour(), tmp_path, num_images, num_real).check(
            evaluated(cache, lambda _: pytest.fail("it was drawn"))
        )


@pytest.mark.slow
def test_fid_and_kid_are_those_of_a_network_on_disk(cache: LatentCache, tmp_path: Path) -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Untrained(FeatureExtractorInceptionV3):
        def load_state_dict(self, *_: object, **__: object) -> None: ...

    torch.manual_seed(0)
    weights = tmp_path / "inception.pth"
    torch.save({}, weights)  # something to load, and to leave
    network = Untrained("untrained", ["2048"], feature_extractor_weights_path=str(weights))
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)  # else nothing reaches the end
    torch.save(network.state_dict(), weights)
    perfect = evaluated(cache, lambda records: cache.gather(records)[0])
    noise = evaluated(cache, lambda records: torch.randn(len(records), *cache.shapes[0]))
    of_perfect, of_noise = (InceptionDistance(str(weights), 24, 24).evaluate(of) for of in (perfect, noise))
    assert of_perfect["quality/fid"] < of_noise["quality/fid"]
    assert of_perfect["quality/kid"] < of_noise["quality/kid"]
