"""Every door to the text encoders takes prompts in one form."""

import unicodedata
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from aaa.config.upgrade import upgrade
from aaa.encoders.pixel import PixelVAE
from aaa.pipelines import diffsynth_pipeline as pipeline
from aaa.pipelines.draw_request import DrawRequest
from aaa.pipelines.text_to_image import TextToImage
from aaa.training.precision import ModelPrecision

COMPOSED = "caf\u00e9"
TAKEN_APART = unicodedata.normalize("NFD", COMPOSED)


class AskedError(Exception):
    """Carries the prompts that a text encoder was asked for."""


def raise_asked(prompts: list[str], *_: Any) -> None:
    raise AskedError(prompts)


def test_sample_and_the_page_embed_one_form() -> None:
    model = object.__new__(TextToImage)
    model.device, model.known_words, model._encoded = torch.device("cpu"), None, {}
    model.vae = model.decoder = PixelVAE(4)
    model.resolution = model.prompt_tokens = 16
    model.precision, model.stored = ModelPrecision("float32", model.device), torch.float32
    scheduler = {"_target_": "aaa.diffusion.schedulers.Flux2Scheduler"}
    said = {"model": {"internal_head": None}, "data": {}, "scheduler": scheduler}
    said["sampling"] = {"steps": 1, "guidance": 1.0}
    model.config = upgrade(OmegaConf.create(said))
    model.text_encoder = type("Encoder", (), {"encode": staticmethod(raise_asked)})()
    for draw in (model.draw, lambda *prompts: next(model.live(DrawRequest(*prompts)))):
        with pytest.raises(AskedError) as asked:
            draw(TAKEN_APART, TAKEN_APART + "\udcff")
        assert asked.value.args[0] == [COMPOSED, COMPOSED + "\ufffd"]


def test_the_pipeline_embeds_one_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "embed_prompts", raise_asked)
    pipe = pipeline.AAAImagePipeline(device="cpu", torch_dtype=torch.float32)
    with pytest.raises(AskedError) as asked:
        pipeline.PromptEmbedder().process(pipe, TAKEN_APART)
    assert asked.value.args[0] == [COMPOSED]
