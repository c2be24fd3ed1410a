"""How pictures are drawn: along which noise levels, by which sampler, how guided. The one way, for all that draw."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from aaa.diffusion.guidance import Guidance, VelocityModel
from aaa.diffusion.prediction import Model, Prediction
from aaa.diffusion.samplers import Sampler, SeededNoise, ShowProgress, Step
from aaa.diffusion.schedulers import ROUNDING, NoiseScheduler, level_above, timestep_dtype, visited_levels

BATCH_SIZE = 64  # pictures that are drawn at once
# Of 32,000 samples, a hundred: with fewer a model knows nothing of a noise level (experiments/recipes).
RARE = 0.003


@dataclass(frozen=True)
class Sampling:
    """What training grids, `aaa.sample`, evaluations, the web page and the DiffSynth pipeline draw with.

    Attributes:
        scheduler: gives the noise levels to visit.
        sampler: goes from one to the next.
        guidance: steers.
        prediction: what the model's output means.
        steps: of the sampler.
        last_sigma: the lowest noise level that the model is asked at; from there the last step goes to 0. None: the one
            below which next to nothing was trained on, where the scheduler knows it.
    """

    scheduler: NoiseScheduler
    sampler: Sampler
    guidance: Guidance
    prediction: Prediction
    steps: int
    last_sigma: float | None = None

    def sigmas(self, tokens: int, denoising_strength: float = 1.0) -> list[float]:
        """Noise levels for a picture of so many latents, the last one 0; see `NoiseScheduler.sampling_sigmas`.

        Where these would go below `last_sigma`, all between the first and the 0 are moved up in proportion. A picture
        that is redrawn from below it goes down from there all the same.

        Raises:
            UserError: if what the scheduler gives are none.
        """
        levels: list[float] = visited_levels(self.scheduler, self.steps, tokens, denoising_strength).tolist()
        last = level_above(self.scheduler, RARE) if self.last_sigma is None else self.last_sigma
        if not levels[-2] < last < levels[0] - ROUNDING:
            return levels
        fewer = visited_levels(self.scheduler, self.steps - 1, tokens, denoising_strength)
        return [*(last + (levels[0] - last) * fewer / fewer[0]).tolist(), 0.0]

    def evaluations(self, sigmas: Sequence[float]) -> int:
        """How many passes through a network a picture takes along these noise levels, which is what drawing costs.

        Samplers and guidance of equal steps differ in it; compared are pictures of equal evaluations.
        """
        return sum(map(self.guidance.passes, self.asked(sigmas)))

    def asked(self, sigmas: Sequence[float]) -> list[float]:
        """The noise levels that the sampler asks for a velocity at, on its way along these.

        They are found by going that way, with a single number for latents and no network.
        """
        levels: list[float] = []

        def note(latents: Tensor, sigma: float) -> Tensor:
            levels.append(sigma)
            return torch.zeros_like(latents)

        deque(self.sampler(note, torch.zeros(1, 1, 1, 1), sigmas, SeededNoise([0])), maxlen=0)
        return levels

    def drawing(
        self,
        model: Model,
        latents: Tensor,
        prompt_embeds: Tensor,
        negative_prompt_embeds: Tensor,
        sigmas: Sequence[float],
        noise: SeededNoise | None = None,
        progress: ShowProgress = iter,
    ) -> Iterator[Step]:
        """The steps from latents at the first noise level, `B C H W`, to clean ones.

        Args:
            model: predicts what `prediction` says.
            latents: pure noise, or a picture's latents noised.
            prompt_embeds: what to draw, `B L D`.
            negative_prompt_embeds: what to steer away from, `B L D`.
            sigmas: noise levels, as the method of that name gives them.
            noise: for samplers that add some, and guidance that draws: that which the latents were drawn from, which
                goes on with the pictures' seeds. None: of seeds 0, 1, ...
            progress: shows how far it is.
        """
        noise = SeededNoise(range(len(latents))) if noise is None else noise
        velocity = VelocityModel(model, self.prediction, noise.seeds, timestep_dtype(self.scheduler))
        predict = self.guidance(velocity, prompt_embeds, negative_prompt_embeds)
        return self.sampler(predict, latents, sigmas, noise, progress)

    def draw(
        self,
        model: Model,
        latents: Tensor,
        prompt_embeds: Tensor,
        negative_prompt_embeds: Tensor,
        sigmas: Sequence[float],
        noise: SeededNoise | None = None,
        progress: ShowProgress = iter,
    ) -> Tensor:
        """Clean latents, `B C H W`: where `drawing` ends."""
        steps = self.drawing(model, latents, prompt_embeds, negative_prompt_embeds, sigmas, noise, progress)
        last = deque(steps, maxlen=1)
        return last.pop().latents if last else latents
