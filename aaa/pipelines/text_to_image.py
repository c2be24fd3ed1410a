"""A trained model with its encoders: prompts in, pictures out."""

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from PIL import Image

from aaa.assembly.latents import STORAGE_DTYPES
from aaa.assembly.parts import build_encoders, build_model, build_preview, build_sampling, missing_weights
from aaa.config.as_dict import as_dict
from aaa.config.overrides import without_interpolations
from aaa.config.sampling_choice import SamplingChoice
from aaa.config.upgrade import upgrade
from aaa.data.decoding import decode_pictures
from aaa.data.pictures import (
    as_rgb,
    crop_and_resize,
    read_picture,
    scale_transparent_color,
    to_tensor,
)
from aaa.devices import pick_device
from aaa.diffusion.autoguidance import GuidedByModel
from aaa.diffusion.guidance import VelocityModel
from aaa.diffusion.samplers import SeededNoise, ShowProgress, Step
from aaa.diffusion.sampling import BATCH_SIZE, Sampling
from aaa.diffusion.schedulers import add_noise
from aaa.encoders.embedding import embed
from aaa.encoders.flux2_tiny import Flux2TinyVAE
from aaa.encoders.pixel import PixelVAE
from aaa.encoders.prompts import normalised
from aaa.encoders.protocols import VAE, HasWeights, TextEncoder
from aaa.errors import UserError
from aaa.pipelines.draw_request import DrawRequest
from aaa.pipelines.guide import load_guide
from aaa.pipelines.remarks import remarks_on
from aaa.saved.checkpoint import load_weights
from aaa.saved.models import SavedModel, find_saved
from aaa.saved.weights_file import require_numbers
from aaa.saved.words_file import read_words
from aaa.training.precision import model_precision

logger = logging.getLogger(__name__)

CHEAP = (PixelVAE, Flux2TinyVAE)  # decoders that can be asked at every step
SELDOM = 5
# Latents of pictures of several prompts in a batch: larger pictures gain little by company, and take much memory.
TOKENS_AT_ONCE = BATCH_SIZE * 256


class TextToImage:
    """A model ready to draw.

    Args:
        saved: its weights and config.
        device: where to compute.
        preview: folder of TAEF2, to decode the latents of FLUX.2's VAE cheaply.
        precision: to run the model in; None for what `model_precision` says.
        choice: in place of the model's own way to be sampled, unless a request says otherwise.
        trust_config: let the config of a model that guides it name any class, not only aaa's own.
        beside: another one on the same device, which is to hold the encoders for both where they are the same.

    Raises:
        UserError: if weights are missing, damaged or do not fit.
    """

    def __init__(
        self,
        saved: SavedModel,
        device: str,
        preview: str | None = None,
        precision: str | None = None,
        choice: SamplingChoice | None = None,
        *,
        trust_config: bool = False,
        beside: "TextToImage | None" = None,
    ) -> None:
        self.device, self.trust_config = torch.device(device), trust_config
        config = upgrade(OmegaConf.create(without_interpolations(saved.config)))
        config = config if choice is None else choice.applied_to(config)
        self.config = config
        self.precision = model_precision(OmegaConf.select(config, "trainer.precision"), self.device, precision)
        self._guides: dict[tuple[str, str], VelocityModel | None] = {}
        self._encoded: dict[tuple[str, str], tuple[torch.Tensor, list[int]]] = {}
        self.vae: VAE
        self.text_encoder: TextEncoder
        if beside is not None and beside.config.encoder == config.encoder:
            self.vae, self.text_encoder = beside.vae, beside.text_encoder
        else:
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
        self.stored = STORAGE_DTYPES.get(config.encoder.get("storage_dtype"), torch.float32)
        self.known_words = read_words(saved.weights.parent)
        self._refuse_other_channels(config.model.in_channels, saved.weights)
        require_numbers(saved.weights, saved.config["model"])
        self.model = build_model(config)
        load_weights(saved.weights, self.model)
        self.model.to(self.device, self.precision.dtype).eval()

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        device: str = "auto",
        weights: str = "ema",
        precision: str | None = None,
        *,
        trust_config: bool = False,
    ) -> "TextToImage":
        """Load the model of a run folder, a checkpoint, a model/ folder or a file of weights.

        Args:
            path: of it.
            device: `auto` for a GPU where there is one.
            weights: `ema` or `raw`, for checkpoints that have both.
            precision: to run it in; None for what it was trained in, where the device is quick at that.
            trust_config: run whatever classes its config, or that of a model that guides it, names, from wherever.

        Raises:
            UserError: if there is no model there, or its config names classes that are not aaa's.
        """
        saved = find_saved(Path(path), weights, trust_config)
        return cls(saved, pick_device(device), precision=precision, trust_config=trust_config)

    def draw(self, prompt: str, negative_prompt: str = "", **settings: Any) -> list[Image.Image]:
        """Draw pictures of a prompt, one for each of the seeds `seed`, `seed + 1`, ...

        Args:
            prompt: what to draw.
            negative_prompt: what to steer away from.
            settings: `num_images`, `seed`, `steps`, `last_sigma`, `sampler`, `guidance`, `height`, `width`,
                `input_image` and `denoising_strength`, as `DrawRequest` has them.

        Raises:
            UserError: if one of these numbers cannot be, or the picture cannot be read.
        """
        return self(DrawRequest(prompt, negative_prompt, **settings))

    def __call__(self, request: DrawRequest, progress: ShowProgress = iter) -> list[Image.Image]:
        """The pictures that are asked for, some at once.

        Args:
            request: which.
            progress: shows how far the steps of each such batch are; `steps` says how many there are in all.
        """
        return next(self.of_prompts([request], progress))

    def of_prompts(self, requests: Sequence[DrawRequest], progress: ShowProgress = iter) -> Iterator[list[Image.Image]]:
        """The pictures of each of some requests that differ in their prompts alone, those of some prompts at once.

        Args:
            requests: which.
            progress: as above; `steps` says how many there are in all.
        """
        for group in self._at_once(requests):
            embeds = []
            for request in group:
                self._look_at(request)
                embeds.append(self._embeds(request))
            pictures: list[Image.Image] = []
            for part in group[0].parts(BATCH_SIZE):
                last = deque(self._steps(part, embeds, progress), maxlen=1).pop()
                pictures += self._finished(last.latents)
            own = len(pictures) // len(group)
            for number in range(len(group)):
                yield pictures[number * own : (number + 1) * own]

    def live(self, request: DrawRequest) -> Iterator[tuple[int, list[Image.Image]]]:
        """The same, showing after each step what the model then holds for the pictures; the last are the finished ones.

        Yields:
            The number of steps taken, and the pictures. A decoder that is not cheap is asked every few steps only.
        """
        self._look_at(request)
        every = 1 if isinstance(self.decoder, CHEAP) else SELDOM
        latents = None
        for taken, step in enumerate(self._steps(request, [self._embeds(request)]), start=1):
            latents = step.latents
            if taken % every == 0:
                yield taken, decode_pictures(self.decoder, step.predicted.float())
        assert latents is not None
        yield taken, self._finished(latents)

    def sampling(self, choice: SamplingChoice) -> Sampling:
        """How it is sampled, with what is chosen in place of its own way.

        Raises:
            UserError: if that cannot be made, or a model that is to guide does not fit.
        """
        config = choice.applied_to(self.config)
        sampling = build_sampling(config)
        if isinstance(sampling.guidance, GuidedByModel):
            place = sampling.guidance.path, sampling.guidance.weights
            sampling.guidance.guide = self._guides.get(place)
            encoder = as_dict(config.encoder)
            load_guide(sampling.guidance, encoder, self.precision, trust_config=self.trust_config)
            self._guides = {place: sampling.guidance.guide}
        return sampling

    def steps(self, requests: Sequence[DrawRequest]) -> int:
        """How many steps of the sampler such requests take as `of_prompts` has, those of all their batches together."""
        first = requests[0]
        sigmas = self.sigmas(self.sampling(first), first)
        return (len(sigmas) - 1) * len(list(first.parts(BATCH_SIZE))) * len(self._at_once(requests))

    def described(self, request: DrawRequest) -> str:
        """What drawing takes: `15 steps of Heun, 58 evaluations of the model, in bf16`."""
        sampling = self.sampling(request)
        sigmas = self.sigmas(sampling, request)
        taken = f"{len(sigmas) - 1} steps of {type(sampling.sampler).__name__}"
        return f"{taken}, {sampling.evaluations(sigmas)} evaluations of the model, in {self.precision.name}"

    def remarks(self, request: DrawRequest) -> list[str]:
        """Sentences on what is drawn otherwise than asked for, and on words and sizes that no training picture had."""
        return list(remarks_on(self, request))

    def _finished(self, latents: torch.Tensor) -> list[Image.Image]:
        if not latents.isfinite().all():
            raise UserError(
                "What was drawn are no finite numbers: a smaller guidance may help, unless the model itself is broken."
            )
        return decode_pictures(self.decoder, latents.float())

    def _look_at(self, request: DrawRequest) -> None:
        """Refuse what nothing would read, and warn of what is drawn otherwise than asked for."""
        if request.negative_prompt and not self.sampling(request).guidance.reads_negative_prompt:
            raise UserError(
                f"negative_prompt={request.negative_prompt}: this guidance steers away from no prompt, so that nothing "
                "would read it. Leave it out, or guidance=prompt."
            )
        for remark in self.remarks(request):
            logger.warning("%s", remark)

    def _at_once(self, requests: Sequence[DrawRequest]) -> list[Sequence[DrawRequest]]:
        """Those whose pictures fit into a batch together, one after the other; of large pictures each is alone."""
        _, height, width = self.shape(requests[0])
        together = min(BATCH_SIZE, TOKENS_AT_ONCE // (height * width)) // requests[0].num_images
        size = max(together, 1)
        return [requests[first : first + size] for first in range(0, len(requests), size)]

    def _steps(
        self, request: DrawRequest, embeds: Sequence[torch.Tensor], progress: ShowProgress = iter
    ) -> Iterator[Step]:
        """The steps to the pictures of a request, and of others of which only the embeddings differ, `2 L D` each."""
        sampling = self.sampling(request)
        sigmas = self.sigmas(sampling, request)
        noise = SeededNoise([*request.seeds] * len(embeds))
        latents = noise(self.shape(request)).to(self.device)
        if request.input_image is not None:
            height, width = (self.vae.downscale_factor * side for side in self.shape(request)[1:])
            clean = self.vae.encode(self._read(request.input_image, height, width)[None]).to(latents)
            latents = add_noise(clean, latents, torch.tensor(sigmas[:1], device=self.device))
        positive, negative = torch.stack([*embeds], dim=1).repeat_interleave(request.num_images, dim=1)
        network = self.precision.running(self.model)
        return sampling.drawing(network, latents, positive, negative, sigmas, noise, progress)

    def _embeds(self, request: DrawRequest) -> torch.Tensor:
        """Of prompt and negative prompt, `2 L D`, rounded as in the latent cache that the model learned from."""
        embeds, _ = self.encoded(request)
        return embeds[:, : self.prompt_tokens].to(self.stored).to(self.device, self.precision.dtype)

    def encoded(self, request: DrawRequest) -> tuple[torch.Tensor, list[int]]:
        """Embeddings of prompt and negative prompt, `2 L D`, and their tokens; those of the last request are kept."""
        prompts = normalised(request.prompt), normalised(request.negative_prompt)
        if prompts not in self._encoded:
            self._encoded = {prompts: embed(self.text_encoder, prompts)}
        return self._encoded[prompts]

    def sigmas(self, sampling: Sampling, request: DrawRequest) -> list[float]:
        """The noise levels that a request is drawn along, the last one 0."""
        _, height, width = self.shape(request)
        return sampling.sigmas(height * width, request.denoising_strength)

    def shape(self, request: DrawRequest) -> tuple[int, int, int]:
        """Of a picture's latents, `C H W`."""
        factor = self.vae.downscale_factor
        height, width = (side or self.resolution for side in (request.height, request.width))
        return self.vae.latent_channels, -(-height // factor), -(-width // factor)

    def _refuse_other_channels(self, in_channels: int, weights: Path) -> None:
        if in_channels != self.vae.latent_channels:
            raise UserError(
                f"{weights}: the model has {in_channels} channels, the latents of its encoder "
                f"{self.vae.latent_channels}. It was trained with another encoder."
            )

    def _read(self, given: str | Path | Image.Image, height: int, width: int) -> torch.Tensor:
        named = "input_image" if isinstance(given, Image.Image) else f"input_image={given}"
        try:
            return to_tensor(crop_and_resize(_over_white(given), height, width))
        except UserError as error:
            raise UserError(f"{named} {error}") from None


def _over_white(given: str | Path | Image.Image) -> Image.Image:
    """A picture, or that of a file, in RGB; the pixels of one that is given stay as they are."""
    if not isinstance(given, Image.Image):
        return read_picture(Path(given), "white")
    scale_transparent_color(given)  # to what its pixels are from now on: `copy` loads it
    copied = given.copy()
    copied.format = given.format
    return as_rgb(copied, "white")
