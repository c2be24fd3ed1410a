"""The pipeline against the tutorial's own loop, written down with DiffSynth's scheduler, guidance and step."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from aaa.diffusion.heun import Heun
from aaa.diffusion.sde import Sde
from aaa.models.dit import AAADiT
from aaa.pipelines.diffsynth_pipeline import AAAImagePipeline, dit_model_fn
from tests.encoders.test_weights import make_tokenizer

KNOBS: dict[str, Any] = {
    "prompt": "green, lizard",
    "negative_prompt": " ",
    "cfg_scale": 10,
    "seed": 3,
    "height": 64,
    "width": 48,
}


class TextEncoder(nn.Module):
    """Stands in for Qwen3: an embedding of the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(500, 1024)

    def forward(self, input_ids: torch.Tensor, **_: Any) -> Any:
        return type("Output", (), {"hidden_states": [None, self.embedding(input_ids)]})


class VAE(nn.Module):
    """Stands in for FLUX.2's: 16 x 16 pixels of one channel each, most of them made up."""

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool2d(images, 16).mean(1, keepdim=True).repeat(1, 128, 1, 1)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(latents[:, :3], scale_factor=16).tanh()


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> AAAImagePipeline:
    from transformers import AutoTokenizer

    torch.manual_seed(0)
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer(folder)
    pipe = AAAImagePipeline(device="cpu", torch_dtype=torch.float32)
    pipe.tokenizer = AutoTokenizer.from_pretrained(folder)
    pipe.text_encoder, pipe.vae, pipe.dit = TextEncoder(), VAE(), AAADiT(64, 2, 2)
    return pipe


@torch.no_grad()
def tutorial_call(pipe: AAAImagePipeline, **knobs: Any) -> Image.Image:
    """The steps that the tutorial's pipeline takes, with DiffSynth's own functions."""
    steps = knobs.pop("num_inference_steps", 30)
    strength = knobs.pop("denoising_strength", 1.0)
    tokens = knobs["height"] // 16 * knobs["width"] // 16
    pipe.scheduler.set_timesteps(steps, denoising_strength=strength, dynamic_shift_len=tokens)
    shared = {"input_image": None, "rand_device": "cpu"} | knobs
    positive, negative = {"prompt": shared.pop("prompt")}, {"negative_prompt": shared.pop("negative_prompt", "")}
    for unit in pipe.units:
        shared, positive, negative = pipe.unit_runner(unit, pipe, shared, positive, negative)
    if shared["input_latents"] is not None:
        shared["latents"] = pipe.scheduler.add_noise(
            shared["input_latents"], shared["noise"], timestep=pipe.scheduler.timesteps[0]
        )
    cfg_scale = shared.pop("cfg_scale")
    for index, timestep in enumerate(pipe.scheduler.timesteps):
        predicted = pipe.cfg_guided_model_fn(
            dit_model_fn, cfg_scale, shared, positive, negative, dit=pipe.dit, timestep=timestep[None]
        )
        shared["latents"] = pipe.step(pipe.scheduler, progress_id=index, noise_pred=predicted, **shared)
    return pipe.vae_output_to_image(pipe.vae.decode(shared["latents"]))


def levels_apart(first: Image.Image, second: Image.Image) -> int:
    from PIL import ImageChops

    return max(high for _, high in ImageChops.difference(first, second).getextrema())  # type: ignore[misc]


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"cfg_scale": 1.0},
        {"num_inference_steps": 4},
        {"input_image": Image.linear_gradient("L").convert("RGB").resize((48, 64)), "denoising_strength": 0.6},
    ],
)
def test_a_picture_is_the_tutorials(pipe: AAAImagePipeline, changed: dict[str, Any]) -> None:
    knobs = KNOBS | changed
    found, expected = pipe(**knobs, progress_bar_cmd=list), tutorial_call(pipe, **knobs)
    assert found.size == (48, 64)
    assert levels_apart(found, expected) <= 1
    assert levels_apart(found, pipe(**(knobs | {"seed": 4}), progress_bar_cmd=list)) > 1


def test_a_model_in_bf16_is_told_timesteps_as_it_was_trained_on_them(pipe: AAAImagePipeline) -> None:
    told: list[float] = []

    def dit(latents: torch.Tensor, _prompt_embeds: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        assert latents.dtype == torch.bfloat16
        told.append(timestep.item())
        return latents

    in_bf16 = AAAImagePipeline(device="cpu", torch_dtype=torch.bfloat16)
    in_bf16.tokenizer, in_bf16.text_encoder, in_bf16.vae, in_bf16.dit = pipe.tokenizer, pipe.text_encoder, VAE(), dit
    in_bf16(**(KNOBS | {"cfg_scale": 1.0}), progress_bar_cmd=list)
    assert told == torch.tensor(told).bfloat16().tolist()


def test_it_follows_the_same_samplers_and_guidance(pipe: AAAImagePipeline) -> None:
    def drawn(**changed: Any) -> Image.Image:
        return pipe(**(KNOBS | {"num_inference_steps": 4} | changed), progress_bar_cmd=list)

    plain = drawn()
    assert levels_apart(drawn(sampler=Heun()), plain) > 1
    assert levels_apart(drawn(sampler=Sde(0)), plain) <= 1
    assert levels_apart(drawn(sampler=Sde()), drawn(sampler=Sde())) == 0
    unguided = drawn(cfg_scale=1.0)
    assert levels_apart(drawn(guidance_interval=(0.0, 0.01)), unguided) <= 1
    assert levels_apart(drawn(guidance_rescale=1.0), plain) > 0


def test_sizes_are_rounded_up_as_diffsynth_does(pipe: AAAImagePipeline, capsys: pytest.CaptureFixture[str]) -> None:
    picture = pipe(**(KNOBS | {"height": 60, "num_inference_steps": 1}))
    assert picture.size == (48, 64)
    assert "round it up to 64" in capsys.readouterr().out
