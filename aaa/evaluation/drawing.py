"""Drawing pictures of cached prompts with the model in training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor, nn

from aaa.data.cache import LatentCache
from aaa.data.decoding import decode_pictures
from aaa.diffusion.samplers import SeededNoise
from aaa.diffusion.sampling import BATCH_SIZE, Sampling
from aaa.encoders.protocols import VAE
from aaa.errors import UserError
from aaa.evaluation.sharing import Alone, Processes, groups_of, share_out
from aaa.training.precision import ModelPrecision

EVALUATIONS = "sampling/evaluations"  # a metric: what drawing a judged picture cost


class NotFinite(UserError):  # noqa: N818 - says what, as NotApplicable
    """What a model draws are no finite numbers, and no pictures to look at or to judge."""


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
        processes: that share the pictures out; each has the same model, and has all pictures in the end. None for this
            one alone.
    """

    def __init__(
        self,
        cache: LatentCache,
        vae: VAE,
        sampling: Sampling,
        *,
        seed: int,
        precision: ModelPrecision,
        processes: Processes | None = None,
    ) -> None:
        self.cache, self.vae, self.processes = cache, vae, processes or Alone()
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
            on_drawn: told, now and then, how many of this process's share are drawn, and how many those are.

        Raises:
            NotFinite: in every process, if one of the pictures is of no finite numbers.
        """
        each_seed = range(self.seed, self.seed + len(records)) if seeds is None else seeds
        shapes = self.cache.shape_ids[records]

        def latents_of(places: Tensor) -> Tensor:
            own = [each_seed[place] for place in places.tolist()]
            return self._draw(model, records[places], own, int(shapes[places[0]]))

        drawn = self._shared(groups_of(shapes), latents_of, on_drawn)
        return Drawn(
            records,
            [self.cache.records[index].prompt for index in records.tolist()],
            [picture for _, picture in drawn],
            [latent for latent, _ in drawn],
        )

    def draw_prompts(self, model: nn.Module, prompt_embeds: Tensor, shape: tuple[int, int, int]) -> list[Image.Image]:
        """Draw a picture for each of some prompts that are no record's, with `seed`, `seed + 1`, ...

        Args:
            model: in evaluation mode.
            prompt_embeds: of the prompts, `N L D`.
            shape: of the pictures' latents, `C H W`.

        Raises:
            NotFinite: as `draw` does.
        """
        sigmas = self.sampling.sigmas(shape[1] * shape[2])

        def latents_of(places: Tensor) -> Tensor:
            seeds = [self.seed + place for place in places.tolist()]
            return self._drawn(model, prompt_embeds[places], seeds, shape, sigmas)

        all_places = torch.arange(len(prompt_embeds))
        return [picture for _, picture in self._shared([all_places], latents_of)]

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.precision.device

    @property
    def evaluations(self) -> int:
        """How many passes through a network a picture takes, the largest if there are several sizes."""
        return max(self.sampling.evaluations(sigmas) for sigmas in self.sigmas)

    def _shared(
        self,
        groups: Sequence[Tensor],
        latents_of: Callable[[Tensor], Tensor],
        on_drawn: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> list[tuple[Tensor, Image.Image]]:
        """Latents and pictures of all places in some groups, of which each process draws its share."""

        def draw(places: Tensor) -> list[tuple[Tensor, Image.Image]]:
            drawn = latents_of(places)
            # Cloned, as a view of the batch would be told to other processes with the whole batch.
            latents = [latent.clone() for latent in drawn.cpu()]
            return list(zip(latents, decode_pictures(self.vae, drawn), strict=True))

        drawn = share_out(self.processes, groups, BATCH_SIZE, draw, on_drawn)
        if not all(latent.isfinite().all() for latent, _ in drawn):
            raise NotFinite(
                "What the model drew are no finite numbers: a smaller guidance may help, unless the model itself is "
                "broken."
            )
        return drawn

    def _draw(self, model: nn.Module, records: Tensor, seeds: list[int], shape: int) -> Tensor:
        _, prompt_embeds = self.cache.gather(records)
        return self._drawn(model, prompt_embeds, seeds, self.cache.shapes[shape], self.sigmas[shape])

    def _drawn(
        self,
        model: nn.Module,
        prompt_embeds: Tensor,
        seeds: list[int],
        shape: tuple[int, int, int],
        sigmas: Sequence[float],
    ) -> Tensor:
        """Clean latents, `B C H W`, of prompts, `B L D`."""
        device, dtype = self.device, self.precision.dtype
        noise = SeededNoise(seeds)
        latents = noise(shape).to(device)
        prompt_embeds = prompt_embeds.to(device, dtype)
        empty = self.cache.empty_prompt_embeds.to(device, dtype).expand_as(prompt_embeds)
        network = self.precision.running(model)
        return self.sampling.draw(network, latents, prompt_embeds, empty, sigmas, noise).float()
