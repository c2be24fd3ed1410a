"""Drawing pictures of cached prompts with the model in training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor, nn

from aaa.data.cache import LatentCache
from aaa.data.pictures import to_pictures
from aaa.diffusion.samplers import SeededNoise
from aaa.diffusion.sampling import Sampling
from aaa.encoders.protocols import VAE
from aaa.training.precision import ModelPrecision

BATCH_SIZE = 64
EVALUATIONS = "sampling/evaluations"  # a metric: what drawing a judged picture cost


@dataclass(frozen=True)
class Drawn:
    """Pictures that a model drew.

    Attributes:
        records: whose prompts they were drawn for, indices into the cache.
        prompts: of each.
        images: the pictures.
        latents: that they were decoded from, `C H W` each.
    """

    records: Tensor
    prompts: Sequence[str]
    images: Sequence[Image.Image]
    latents: Sequence[Tensor]

    def part(self, start: int, end: int) -> "Drawn":
        """Some of them."""
        rows = slice(start, end)
        return Drawn(self.records[rows], self.prompts[rows], self.images[rows], self.latents[rows])

    def first(self, count: int) -> "Drawn":
        """The first ones."""
        return self.part(0, count)


class PictureDrawer:
    """Draws pictures for prompts of the latent cache, so that no text encoder is needed while training.

    Args:
        cache: where the prompts' embeddings are.
        vae: decodes what is drawn.
        sampling: how.
        seed: of the first picture; the next take seed + 1, seed + 2, ...
        precision: to run the model in, and where it is.
    """

    def __init__(
        self,
        cache: LatentCache,
        vae: VAE,
        sampling: Sampling,
        *,
        seed: int,
        precision: ModelPrecision,
    ) -> None:
        self.cache, self.vae = cache, vae
        self.sampling, self.seed, self.precision = sampling, seed, precision
        self.sigmas = [sampling.sigmas(height * width) for _, height, width in cache.shapes]

    def draw(
        self,
        model: nn.Module,
        records: Tensor,
        seeds: Sequence[int] | None = None,
        on_drawn: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> Drawn:
        """Draw a picture for each of these records.

        Args:
            model: in evaluation mode.
            records: indices into the cache.
            seeds: of each picture's noise; None for `seed`, `seed + 1`, ...
            on_drawn: told, now and then, how many of them are drawn, and how many there are.
        """
        seeds = range(self.seed, self.seed + len(records)) if seeds is None else seeds
        latents: dict[int, Tensor] = {}
        pictures: dict[int, Image.Image] = {}
        shapes = self.cache.shape_ids[records]
        for shape in shapes.unique().tolist():
            for places in (shapes == shape).nonzero()[:, 0].split(BATCH_SIZE):
                drawn = self._draw(model, records[places], [seeds[place] for place in places.tolist()], shape)
                latents |= dict(zip(places.tolist(), drawn.cpu(), strict=True))
                pictures |= dict(zip(places.tolist(), to_pictures(self.vae.decode(drawn)), strict=True))
                on_drawn(len(pictures), len(records))
        return Drawn(
            records,
            [self.cache.records[index].prompt for index in records.tolist()],
            [pictures[place] for place in range(len(records))],
            [latents[place] for place in range(len(records))],
        )

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.precision.device

    @property
    def evaluations(self) -> int:
        """How many passes through a network a picture takes, the largest if there are several sizes."""
        return max(self.sampling.evaluations(sigmas) for sigmas in self.sigmas)

    def _draw(self, model: nn.Module, records: Tensor, seeds: list[int], shape: int) -> Tensor:
        device, dtype = self.device, self.precision.dtype
        noise = SeededNoise(seeds)
        latents = noise(self.cache.shapes[shape]).to(device, dtype)
        _, prompt_embeds = self.cache.gather(records)
        prompt_embeds = prompt_embeds.to(device, dtype)
        empty = self.cache.empty_prompt_embeds.to(device, dtype).expand_as(prompt_embeds)
        network = self.precision.running(model)
        return self.sampling.draw(network, latents, prompt_embeds, empty, self.sigmas[shape], noise).float()
