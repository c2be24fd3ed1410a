"""A trained model with its encoders: prompts in, pictures out."""

import logging
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from PIL import Image

from aaa.config.build import build_encoders, build_model, build_preview, build_sampling, missing_weights, pick_device
from aaa.config.overrides import without_interpolations
from aaa.config.ranges import require_ranges
from aaa.config.schema import SampleConfig
from aaa.config.upgrade import upgrade
from aaa.data.pictures import as_rgb, crop_and_resize, read_picture, to_pictures, to_tensor
from aaa.diffusion.samplers import Step, initial_noise
from aaa.diffusion.schedulers import add_noise
from aaa.encoders.flux2_tiny import Flux2TinyVAE
from aaa.encoders.pixel import PixelVAE
from aaa.encoders.prompts import normalised
from aaa.encoders.protocols import HasWeights
from aaa.errors import UserError
from aaa.models.saved import SavedModel, find_saved
from aaa.models.weights_file import require_numbers
from aaa.training.checkpoint import load_weights

logger = logging.getLogger(__name__)

CHEAP = (PixelVAE, Flux2TinyVAE)  # decoders that can be asked at every step
SELDOM = 5


class TextToImage:
    """A model ready to draw.

    Args:
        saved: its weights and config.
        device: where to compute.
        preview: folder of TAEF2, to decode the latents of FLUX.2's VAE cheaply.

    Raises:
        UserError: if weights are missing, damaged or do not fit.
    """

    def __init__(self, saved: SavedModel, device: str, preview: str | None = None) -> None:
        self.device = torch.device(device)
        config = upgrade(OmegaConf.create(without_interpolations(saved.config)))
        self.config = config
        self.vae, self.text_encoder = build_encoders(config)
        weighty = [part for part in (self.vae, self.text_encoder) if isinstance(part, HasWeights)]
        if missing := missing_weights(weighty):
            raise UserError("Weights are missing:\n  " + "\n  ".join(missing))
        for part in weighty:
            part.to(device)
        self.decoder = self.vae if preview is None else build_preview(self.vae, preview)
        self.resolution: int = config.data.resolution
        # A run that trimmed its prompts says to how many tokens.
        self.prompt_tokens: int = config.encoder.get("prompt_tokens", self.text_encoder.max_length)
        self._refuse_other_channels(config.model.in_channels, saved.weights)
        require_numbers(saved.weights, saved.config["model"])
        self.model = build_model(config)
        load_weights(saved.weights, self.model)
        self.model.to(self.device).eval()

    @classmethod
    def from_pretrained(cls, path: str | Path, device: str = "auto", weights: str = "ema") -> "TextToImage":
        """Load the model of a run folder, a checkpoint, a model/ folder or a file of weights.

        Args:
            path: of it.
            device: `auto` for a GPU where there is one.
            weights: `ema` or `raw`, for checkpoints that have both.

        Raises:
            UserError: if there is no model there, or its config names classes that are not aaa's.
        """
        return cls(find_saved(Path(path), weights, trust_config=False), pick_device(device))

    def draw(
        self,
        prompt: str,
        negative_prompt: str = "",
        *,
        num_images: int = 1,
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
        height: int | None = None,
        width: int | None = None,
        input_image: Path | Image.Image | None = None,
        denoising_strength: float = 1.0,
    ) -> list[Image.Image]:
        """Draw pictures of a prompt, one for each of the seeds `seed`, `seed + 1`, ...

        Args:
            prompt: what to draw.
            negative_prompt: what to steer away from.
            num_images: how many.
            seed: of the first.
            steps, guidance: None for the model's own defaults.
            height, width: in pixels, rounded up to multiples of the VAE's downscale factor; None for the resolution of
                the training pictures.
            input_image: a picture to start from.
            denoising_strength: how much of it to redraw, in (0, 1].

        Raises:
            UserError: if one of these numbers cannot be, or the picture cannot be read.
        """
        steps_taken = self._steps(
            prompt,
            negative_prompt,
            num_images=num_images,
            seed=seed,
            steps=steps,
            guidance=guidance,
            height=height,
            width=width,
            input_image=input_image,
            denoising_strength=denoising_strength,
        )
        last = deque(steps_taken, maxlen=1).pop()
        return self._finished(last.latents)

    def draw_live(
        self, prompt: str, negative_prompt: str = "", **settings: Any
    ) -> Iterator[tuple[int, list[Image.Image]]]:
        """As `draw`, showing after each step what the model then holds for the pictures; the last are `draw`'s own.

        Args:
            prompt, negative_prompt, settings: as `draw` takes them.

        Yields:
            The number of steps taken, and the pictures. A decoder that is not cheap is asked every few steps only.
        """
        every = 1 if isinstance(self.decoder, CHEAP) else SELDOM
        latents = None
        for taken, step in enumerate(self._steps(prompt, negative_prompt, **settings), start=1):
            latents = step.latents
            if taken % every == 0:
                yield taken, to_pictures(self.decoder.decode(step.predicted))
        assert latents is not None
        yield taken, self._finished(latents)

    def _finished(self, latents: torch.Tensor) -> list[Image.Image]:
        if not latents.isfinite().all():
            raise UserError(
                "What was drawn are no finite numbers: a smaller guidance may help, unless the model itself is broken."
            )
        return to_pictures(self.decoder.decode(latents))

    def _steps(
        self,
        prompt: str,
        negative_prompt: str,
        *,
        num_images: int = 1,
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
        height: int | None = None,
        width: int | None = None,
        input_image: Path | Image.Image | None = None,
        denoising_strength: float = 1.0,
    ) -> Iterator[Step]:
        steps = self.config.sampling.steps if steps is None else steps
        guidance = self.config.sampling.guidance if guidance is None else guidance
        height = self.resolution if height is None else height
        width = self.resolution if width is None else width
        numbers = {"steps": steps, "guidance": guidance, "seed": seed, "num_images": num_images}
        sides = {"height": height, "width": width, "denoising_strength": denoising_strength}
        require_ranges(SampleConfig, numbers | sides)
        if denoising_strength < 1 and input_image is None:
            raise UserError("denoising_strength below 1 needs a picture to start from: input_image=PATH.")
        height, width = self._rounded_up("height", height), self._rounded_up("width", width)
        factor = self.vae.downscale_factor
        shape = (self.vae.latent_channels, height // factor, width // factor)
        sampling = build_sampling(self.config, steps, guidance)
        sigmas = sampling.sigmas(shape[1] * shape[2], denoising_strength)
        latents = initial_noise(range(seed, seed + num_images), shape).to(self.device)
        if input_image is not None:
            clean = self.vae.encode(self._read(input_image, height, width)[None]).to(latents)
            latents = add_noise(clean, latents, torch.tensor(sigmas[:1], device=self.device))
        embeds, lengths = self.text_encoder.encode([normalised(prompt), normalised(negative_prompt)])
        if max(lengths) > self.prompt_tokens:
            logger.warning("The prompt has %d tokens; the model sees the first %d.", max(lengths), self.prompt_tokens)
        positive, negative = (embed[: self.prompt_tokens].to(latents).expand(num_images, -1, -1) for embed in embeds)
        return sampling.drawing(self.model, latents, positive, negative, sigmas)

    def _rounded_up(self, name: str, pixels: int) -> int:
        factor = self.vae.downscale_factor
        rounded = -(-pixels // factor) * factor
        if rounded != pixels:
            logger.warning("%s=%d is not a multiple of %d and was rounded up to %d.", name, pixels, factor, rounded)
        return rounded

    def _refuse_other_channels(self, in_channels: int, weights: Path) -> None:
        if in_channels != self.vae.latent_channels:
            raise UserError(
                f"{weights}: the model has {in_channels} channels, the latents of its encoder "
                f"{self.vae.latent_channels}. It was trained with another encoder."
            )

    def _read(self, path: Path | Image.Image, height: int, width: int) -> torch.Tensor:
        if isinstance(path, Image.Image):
            return to_tensor(crop_and_resize(as_rgb(path.copy(), "white"), height, width))
        if not path.is_file():
            raise UserError(f"input_image={path}: there is no such file.")
        try:
            return to_tensor(crop_and_resize(read_picture(path, "white"), height, width))
        except UserError as error:
            raise UserError(f"input_image={path} {error}") from None
