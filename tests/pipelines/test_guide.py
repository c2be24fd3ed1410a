"""Which models may guide another one."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from aaa.diffusion.autoguidance import CheckpointGuidance
from aaa.diffusion.schedulers import LinearScheduler
from aaa.errors import UserError
from aaa.pipelines.guide import load_guide, require_same_encoder
from aaa.pipelines.text_to_image import TextToImage
from aaa.saved.models import SavedModel
from aaa.training.precision import ModelPrecision
from tests.e2e.test_kept_run import KEPT

WORDS = {"_target_": "aaa.encoders.words.WordEmbedding", "prompt_dim": 128, "max_length": 16}
PIXELS = {"_target_": "aaa.encoders.pixel.PixelVAE", "downscale_factor": 4}
ENCODER: dict[str, Any] = {
    "name": "pixel",
    "downscale_factor": 4,
    "latent_channels": 48,
    "batch_size": 256,
    "vae": PIXELS,
    "text_encoder": WORDS,
}


def saved(**changed: Any) -> SavedModel:
    return SavedModel(Path("model.safetensors"), {"encoder": ENCODER | changed})


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"name": "mine", "batch_size": 2, "storage_dtype": "float32", "prompt_tokens": 11},
        {"vae": PIXELS | {"path": "elsewhere"}},
        {"key_of_a_later_version": 1},
    ],
)
def test_where_things_lie_and_what_they_are_called_does_not_matter(changed: dict[str, Any]) -> None:
    require_same_encoder(saved(**changed), ENCODER)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"latent_channels": 192}, "encoder.latent_channels is 192, and here 48"),
        ({"text_encoder": WORDS | {"max_length": 77}}, "encoder.text_encoder.max_length is 77, and here 16"),
        ({"text_encoder": WORDS | {"_target_": "mine.Words"}}, "encoder.text_encoder._target_ is mine.Words"),
        ({"vae": PIXELS | {"latent_mean": [0.1] * 48}}, "encoder.vae.latent_mean is"),
    ],
)
def test_other_latents_or_prompts_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"guidance.model=model.safetensors: .* {message}"):
        require_same_encoder(saved(**changed), ENCODER)
    with pytest.raises(UserError, match="cannot guide this one"):
        require_same_encoder(saved(), ENCODER | changed)


@pytest.mark.parametrize(
    ("weights", "is_other"), [(b"mine", False), (b"mind", True), (b"another width", True), (None, False)]
)
def test_a_text_model_elsewhere_must_have_the_same_weights(
    tmp_path: Path, weights: bytes | None, is_other: bool
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder, content in ((here, b"mine"), (there, weights)):
        folder.mkdir()
        if content is not None:
            (folder / "model.safetensors").write_bytes(content)
    own, other = ({"text_encoder": {"_target_": "a.Model", "path": str(folder)}} for folder in (here, there))
    require_same_encoder(saved(**own), ENCODER | own)
    if is_other:
        with pytest.raises(UserError, match=r"encoder\.text_encoder\.path=.*there are not those at .*here\."):
            require_same_encoder(saved(**other), ENCODER | own)
    else:
        require_same_encoder(saved(**other), ENCODER | own)


def test_a_guide_that_cannot_be_opened_is_named_by_its_key(tmp_path: Path) -> None:
    guidance = CheckpointGuidance(2.0, str(tmp_path / "nowhere"))
    precision = ModelPrecision("float32", torch.device("cpu"))
    with pytest.raises(UserError, match=r"^guidance\.model=.*nowhere: there is no such folder"):
        load_guide(guidance, ENCODER, precision, trust_config=False)
    damaged = tmp_path / "step-5.safetensors"
    damaged.write_bytes(b"half")
    with pytest.raises(UserError, match=r"^guidance\.model=.*step-5\.safetensors: "):
        load_guide(CheckpointGuidance(2.0, str(damaged)), ENCODER, precision, trust_config=False)


class OwnScheduler(LinearScheduler):
    """A class of one's own, by which a model was trained."""


def test_who_trusts_a_model_of_classes_of_ones_own_may_be_guided_by_it(tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(KEPT / "run/model", own)
    config = json.loads((own / "config.json").read_text())
    config["scheduler"] = {"_target_": f"{OwnScheduler.__module__}.OwnScheduler"}
    (own / "config.json").write_text(json.dumps(config))
    guided: dict[str, Any] = {
        "steps": 1,
        "guidance": {"_target_": "aaa.diffusion.autoguidance.CheckpointGuidance", "scale": 2, "model": str(own)},
    }
    with pytest.raises(UserError, match=r"^model=.* wants to run '.*OwnScheduler'"):
        TextToImage.from_pretrained(own)
    with pytest.raises(UserError, match=r"^guidance\.model=.* wants to run '.*OwnScheduler'"):
        TextToImage.from_pretrained(KEPT / "run").draw("a red circle", **guided)
    trusting = TextToImage.from_pretrained(own, trust_config=True)
    assert len(trusting.draw("a red circle", **guided)) == 1
