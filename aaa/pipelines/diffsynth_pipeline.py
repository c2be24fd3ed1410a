"""The trained model as a DiffSynth pipeline, with the names and defaults of DiffSynth's tutorial.

`python -m aaa.sample` and this pipeline draw with the same sampler and noise scheduler: one truth, two doors.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from diffsynth.core import ModelConfig
from diffsynth.diffusion import FlowMatchScheduler
from diffsynth.diffusion.base_pipeline import BasePipeline, PipelineUnit
from PIL import Image
from torch import Tensor
from tqdm import tqdm
from transformers import AutoTokenizer

from aaa.diffusion.guidance import PromptGuidance
from aaa.diffusion.prediction import VelocityPrediction
from aaa.diffusion.samplers import Euler, Sampler, SeededNoise
from aaa.diffusion.sampling import Sampling
from aaa.diffusion.schedulers import Flux2Scheduler, add_noise
from aaa.encoders.prompts import normalised
from aaa.encoders.qwen3 import embed_prompts
from aaa.models.dit import AAADiT

DIVISION_FACTOR = 16
MAX_PROMPT_TOKENS = 128


class AAAImagePipeline(BasePipeline):
    """Text to image with a DiT, Qwen3-0.6B and FLUX.2's VAE.

    Attributes:
        dit: the transformer; set it to a loaded `AAADiT`.
        text_encoder, tokenizer: for the prompts.
        vae: for the pictures.
        scheduler: DiffSynth's, for code that expects the tutorial's attribute; sampling asks `Flux2Scheduler`.
    """

    def __init__(self, device: str | torch.device = "cuda", torch_dtype: torch.dtype = torch.bfloat16) -> None:
        super().__init__(
            device=device,
            torch_dtype=torch_dtype,
            height_division_factor=DIVISION_FACTOR,
            width_division_factor=DIVISION_FACTOR,
        )
        self.scheduler = FlowMatchScheduler("FLUX.2")
        self.text_encoder: Any = None
        self.dit: Any = None
        self.vae: Any = None
        self.tokenizer: Any = None
        self.in_iteration_models = ("dit",)
        self.units = [PromptEmbedder(), NoiseInitializer(), InputImageEmbedder()]
        self.model_fn = dit_model_fn

    @staticmethod
    def from_pretrained(
        torch_dtype: torch.dtype = torch.bfloat16,
        device: str | torch.device = "cuda",
        model_configs: Iterable[ModelConfig] = (),
        tokenizer_config: ModelConfig | None = None,
        vram_limit: float | None = None,
    ) -> "AAAImagePipeline":
        """Load what these configs name through DiffSynth's model pool.

        Args:
            torch_dtype: of weights and arithmetic.
            device: to compute on.
            model_configs: the weights' files.
            tokenizer_config: the tokenizer's folder.
            vram_limit: GiB of GPU memory to stay under, for configs that ask for DiffSynth's VRAM management.
        """
        pipe = AAAImagePipeline(device=device, torch_dtype=torch_dtype)
        pool = pipe.download_and_load_models(list(model_configs), vram_limit)
        pipe.text_encoder = pool.fetch_model("z_image_text_encoder")
        pipe.dit = pool.fetch_model("aaa_dit")
        pipe.vae = pool.fetch_model("flux2_vae")
        if tokenizer_config is not None:
            tokenizer_config.download_if_necessary()
            pipe.tokenizer = AutoTokenizer.from_pretrained(tokenizer_config.path)
        pipe.vram_management_enabled = pipe.check_vram_management_state()
        return pipe

    @torch.no_grad()
    def __call__(
        self,
        prompt: str,
        negative_prompt: str = "",
        cfg_scale: float = 1.0,
        input_image: Image.Image | None = None,
        denoising_strength: float = 1.0,
        height: int = 1024,
        width: int = 1024,
        seed: int | None = None,
        rand_device: str = "cpu",
        num_inference_steps: int = 30,
        progress_bar_cmd: Callable[[Any], Iterable[Any]] = tqdm,
        sampler: Sampler | None = None,
        guidance_interval: Sequence[float] = (0.0, 1.0),
        guidance_rescale: float = 0.0,
    ) -> Image.Image:
        """Draw one picture.

        Args:
            prompt: what to draw.
            negative_prompt: what to steer away from.
            cfg_scale: classifier-free guidance scale; 1 is none.
            input_image: a picture of `height` x `width` to start from.
            denoising_strength: how much of it to redraw, in (0, 1].
            height, width: in pixels, rounded up to a multiple of 16.
            seed: of the noise; None for any.
            rand_device: where the noise is drawn.
            num_inference_steps: of the sampler.
            progress_bar_cmd: wraps the steps, to show progress.
            sampler: of aaa/diffusion; None for Euler's, as DiffSynth has it.
            guidance_interval, guidance_rescale: as `PromptGuidance` has them.
        """
        height, width = self.check_resize_height_width(height, width)
        tokens = height // DIVISION_FACTOR * (width // DIVISION_FACTOR)
        self.scheduler.set_timesteps(
            num_inference_steps, denoising_strength=denoising_strength, dynamic_shift_len=tokens
        )
        guidance = PromptGuidance(cfg_scale, guidance_interval, guidance_rescale)
        scheduler = Flux2Scheduler("bfloat16" if self.torch_dtype == torch.bfloat16 else "float32")
        sampling = Sampling(scheduler, sampler or Euler(), guidance, VelocityPrediction(), num_inference_steps)
        sigmas = sampling.sigmas(tokens, denoising_strength)
        shared: dict[str, Any] = {
            "cfg_scale": cfg_scale,
            "input_image": input_image,
            "height": height,
            "width": width,
            "seed": seed,
            "rand_device": rand_device,
        }
        positive: dict[str, Any] = {"prompt": prompt}
        negative: dict[str, Any] = {"negative_prompt": negative_prompt}
        for unit in self.units:
            shared, positive, negative = self.unit_runner(unit, self, shared, positive, negative)
        self.load_models_to_device(self.in_iteration_models)
        noise = SeededNoise([int(torch.randint(2**62, ())) if seed is None else seed])
        noise(
            tuple(shared["latents"].shape[1:])
        )  # what the latents were drawn from; a sampler's own goes on from there
        latents = sampling.draw(
            lambda noised, *told: self.dit(noised.to(self.torch_dtype), *told),
            shared["latents"].float(),
            positive["prompt_embeds"],
            negative.get("prompt_embeds", positive["prompt_embeds"]),
            sigmas,
            noise,
            progress=progress_bar_cmd,
        )
        self.load_models_to_device(["vae"])
        picture = self.vae_output_to_image(self.vae.decode(latents.to(self.torch_dtype)))
        self.load_models_to_device([])
        return picture


class PromptEmbedder(PipelineUnit):
    """Prompts to prompt_embeds, `1 128 1024`, as the latent cache's `Qwen3Encoder` embeds them."""

    def __init__(self) -> None:
        super().__init__(
            seperate_cfg=True,
            input_params_posi={"prompt": "prompt"},
            input_params_nega={"prompt": "negative_prompt"},
            output_params=("prompt_embeds",),
            onload_model_names=("text_encoder",),
        )

    def process(self, pipe: AAAImagePipeline, prompt: str) -> dict[str, Tensor]:
        """Embed one prompt."""
        pipe.load_models_to_device(self.onload_model_names)
        embeds, _ = embed_prompts(
            [normalised(prompt)], pipe.tokenizer, pipe.text_encoder, MAX_PROMPT_TOKENS, pipe.device
        )
        return {"prompt_embeds": embeds}


class NoiseInitializer(PipelineUnit):
    """Noise for a picture, `1 128 H/16 W/16`."""

    def __init__(self) -> None:
        super().__init__(input_params=("height", "width", "seed", "rand_device"), output_params=("noise",))

    def process(
        self, pipe: AAAImagePipeline, height: int, width: int, seed: int | None, rand_device: str
    ) -> dict[str, Tensor]:
        """Draw the noise, in the pipeline's dtype as the tutorial does."""
        shape = (1, 128, height // DIVISION_FACTOR, width // DIVISION_FACTOR)
        return {"noise": pipe.generate_noise(shape, seed, rand_device, rand_torch_dtype=pipe.torch_dtype)}


class InputImageEmbedder(PipelineUnit):
    """Latents to start from: the noise, or a picture's latents noised to the first noise level."""

    def __init__(self) -> None:
        super().__init__(
            input_params=("input_image", "noise"),
            output_params=("latents", "input_latents"),
            onload_model_names=("vae",),
        )

    def process(
        self, pipe: AAAImagePipeline, input_image: Image.Image | None, noise: Tensor
    ) -> dict[str, Tensor | None]:
        """Encode the picture, if there is one. While training the latents are noised by the loss instead."""
        if input_image is None:
            return {"latents": noise, "input_latents": None}
        pipe.load_models_to_device(self.onload_model_names)
        clean = pipe.vae.encode(pipe.preprocess_image(input_image))
        if pipe.scheduler.training:
            return {"latents": noise, "input_latents": clean}
        return {"latents": add_noise(clean, noise, pipe.scheduler.sigmas[:1].to(clean.device)), "input_latents": clean}


def dit_model_fn(dit: AAADiT, latents: Tensor, prompt_embeds: Tensor, timestep: Tensor, **_: Any) -> Tensor:
    """The model as DiffSynth's losses and guidance call it: by keyword, with whatever else they carry."""
    return dit(latents, prompt_embeds, timestep)
