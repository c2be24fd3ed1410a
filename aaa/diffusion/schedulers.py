"""Noise schedulers: which noise levels are trained on and how much each counts, and which the sampler visits.

A noise level sigma runs from 0 (a clean picture) to 1 (pure noise); the model is told `timestep = 1000 * sigma`.
"""

import math
from functools import cached_property
from statistics import NormalDist
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from aaa.errors import UserError, require_methods, require_number

TRAIN_TIMESTEPS = 1000
TRIED = 256  # noise levels that are drawn to see whether they are any
ROUNDING = 1e-5  # by which float32 may miss the level that is meant


class NoiseLevels(NamedTuple):
    """Noise levels to train on, each `B` float32.

    Attributes:
        sigma: how much noise there is, 0..1.
        timestep: what the model is told of it, 0..1000.
        weight: of its loss.
    """

    sigma: Tensor
    timestep: Tensor
    weight: Tensor


def add_noise(latents: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """The point at `sigma` (`B` float32) on the line from each of the `latents` to its `noise`, both `B C H W`."""
    sigma = sigma.view(-1, 1, 1, 1)
    return ((1 - sigma) * latents + sigma * noise).to(latents.dtype)


class NoiseScheduler(Protocol):
    """What training and sampling ask of a noise scheduler."""

    def draw(self, batch_size: int, generator: torch.Generator) -> NoiseLevels:
        """Noise levels to train on, on the generator's device."""
        ...

    def sampling_sigmas(self, steps: int, tokens: int, denoising_strength: float = 1.0) -> Tensor:
        """Noise levels from the first to 0, `steps + 1` float32 on the CPU.

        Args:
            steps: Euler steps.
            tokens: latents of one picture, height * width, by which some schedulers shift.
            denoising_strength: where to start, in (0, 1]: 1 is pure noise.
        """
        ...


def require_scheduler(scheduler: object) -> None:
    """Refuse what cannot be a noise scheduler.

    Raises:
        UserError: naming the methods of `NoiseScheduler` that it has not.
    """
    asked = "training and sampling ask of a noise scheduler"
    require_methods(scheduler, ("draw", "sampling_sigmas"), "scheduler", asked)


def drawn_levels(scheduler: NoiseScheduler, batch_size: int, generator: torch.Generator) -> NoiseLevels:
    """Noise levels to train on, of which types and shapes are looked at, which no device has to be waited for.

    Raises:
        UserError: if they are not `batch_size` numbers each.
    """
    levels: object = scheduler.draw(batch_size, generator)
    given = f"scheduler: {type(scheduler).__name__}.draw gives"
    wanted = "and has to give NoiseLevels(sigma, timestep, weight), a number for each sample in each"
    if not isinstance(levels, NoiseLevels):
        raise UserError(f"{given} a {type(levels).__name__}, {wanted}.")
    for name, level in levels._asdict().items():
        if not isinstance(level, Tensor):
            raise UserError(f"{given} a {type(level).__name__} as {name}, {wanted}.")
        if level.shape != (batch_size,):
            raise UserError(f"{given} {name} of shape {tuple(level.shape)}, {wanted}: {(batch_size,)}.")
    return levels


def require_levels(scheduler: NoiseScheduler) -> None:
    """Refuse a scheduler that draws levels which are none, as those of 0..1000 that are timesteps elsewhere.

    Raises:
        UserError: naming one.
    """
    with torch.device("cpu"):  # where its numbers can be looked at, wherever it is to draw
        sigma = drawn_levels(scheduler, TRIED, torch.Generator().manual_seed(0)).sigma.float()
    if not torch.allclose(sigma, sigma.clamp(0, 1)):
        farthest = sigma[(sigma - 0.5).abs().argmax()].item()
        raise UserError(
            f"scheduler: {type(scheduler).__name__}.draw gives sigma={farthest:g}, and has to give numbers from 0, a "
            "clean picture, to 1, pure noise; what the model is told of them is timestep."
        )


def visited_levels(scheduler: NoiseScheduler, steps: int, tokens: int, denoising_strength: float) -> Tensor:
    """Noise levels of a way to clean pictures, without what rounding adds; see `NoiseScheduler.sampling_sigmas`.

    Raises:
        UserError: if they lead elsewhere, or in another number of steps.
    """
    levels: object = scheduler.sampling_sigmas(steps, tokens, denoising_strength)
    given = f"scheduler: {type(scheduler).__name__}.sampling_sigmas gives"
    wanted = f"and has to give a tensor of {steps + 1} for {steps} steps, which fall from 1 or less to 0"
    if not isinstance(levels, Tensor):
        raise UserError(f"{given} a {type(levels).__name__}, {wanted}.")
    if levels.shape != (steps + 1,):
        raise UserError(f"{given} noise levels of shape {tuple(levels.shape)}, {wanted}.")
    first, last = levels[0].item(), levels[-1].item()
    falls = bool((levels.diff() <= 0).all())
    if not (falls and 0 < first <= 1 + ROUNDING and abs(last) <= ROUNDING):
        between = " that do not fall" if first > last and not falls else ""
        raise UserError(f"{given} noise levels from {first:g} to {last:g}{between}, {wanted}.")
    levels = levels.clamp(0, 1)
    levels[-1] = 0
    return levels


@runtime_checkable
class KnowsRareLevels(Protocol):
    """A scheduler that knows how seldom low noise levels are trained on."""

    def level_above(self, share: float) -> float:
        """The noise level that is just above this share of those that are drawn."""
        ...


def level_above(scheduler: NoiseScheduler, share: float) -> float:
    """The noise level that is just above this share of those that a scheduler draws; 0 if it does not know.

    What a class inherits is not asked about levels that it draws itself.
    """
    if not isinstance(scheduler, KnowsRareLevels):
        return 0.0
    knowing, drawing = (
        next((made for made in type(scheduler).__mro__ if name in vars(made)), None) for name in ("level_above", "draw")
    )
    return scheduler.level_above(share) if knowing is drawing else 0.0


def timestep_dtype(scheduler: NoiseScheduler) -> torch.dtype:
    """What a scheduler rounds timesteps to, in training and so in sampling; float32 if it says nothing of it."""
    return getattr(scheduler, "timestep_dtype", torch.float32)


class LinearScheduler:
    """Noise levels drawn uniformly, visited in equal steps (rectified flow, Liu et al. 2022).

    Args:
        shift: above 1, moves the sampler's steps towards high noise (Esser et al. 2024, equation 23).
        base_tokens: latents of a picture that need no shift beyond that: one of more is shifted by the square root of
            how many times as many it has, as its noise must be stronger to hide as much. None: every size is alike.
        stratified: draw a level from each of as many equally likely ranges as a batch has samples, in place of each
            from all, so that batches are more alike (Kingma et al. 2021, arXiv 2107.00630).
    """

    recordable = True

    def __init__(self, shift: float = 1.0, base_tokens: int | None = None, stratified: bool = False) -> None:
        require_number("scheduler.shift", shift, above=0)
        if base_tokens is not None:
            require_number("scheduler.base_tokens", base_tokens, least=1)
        self.shift, self.base_tokens, self.stratified = shift, base_tokens, stratified

    def draw(self, batch_size: int, generator: torch.Generator) -> NoiseLevels:
        """Uniform noise levels, all weighing 1."""
        sigma = self.shares(batch_size, generator)
        return NoiseLevels(sigma, sigma * TRAIN_TIMESTEPS, torch.ones_like(sigma))

    def shares(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """What share of all levels each drawn one is above: `B` float32 in [0, 1)."""
        drawn = torch.rand(batch_size, generator=generator, device=generator.device)
        if self.stratified:
            # Dealt out: a sample's place in the batch may say what it is, as where parts of a mixture take turns.
            ranges = torch.randperm(batch_size, generator=generator, device=generator.device)
            drawn = (ranges + drawn) / batch_size
        return drawn

    def level_above(self, share: float) -> float:
        """See `KnowsRareLevels`."""
        return share

    def sampling_sigmas(self, steps: int, tokens: int, denoising_strength: float = 1.0) -> Tensor:
        """Equal steps from `denoising_strength` to 0, then shifted."""
        sigmas = torch.linspace(denoising_strength, 0, steps + 1).double()  # in float32 1 may be shifted above itself
        shift = self.shift
        if self.base_tokens is not None:
            shift *= math.sqrt(tokens / self.base_tokens)
        return (shift * sigmas / (1 + (shift - 1) * sigmas)).float()


class LogitNormalScheduler(LinearScheduler):
    """Noise levels whose logit is normal, so middling ones come most often (Esser et al. 2024, section 3.1).

    Args:
        mean: of the logit; above 0 favours high noise. A shift by `s` of the levels that are trained on is a mean that
            is higher by `log(s)`.
        std: of the logit.
        shift, base_tokens, stratified: as in `LinearScheduler`.
    """

    recordable = True

    def __init__(
        self,
        mean: float = 0.0,
        std: float = 1.0,
        shift: float = 1.0,
        base_tokens: int | None = None,
        stratified: bool = False,
    ) -> None:
        super().__init__(shift, base_tokens, stratified)
        require_number("scheduler.std", std, above=0)
        self.mean, self.std = mean, std

    def draw(self, batch_size: int, generator: torch.Generator) -> NoiseLevels:
        """Logit-normal noise levels, all weighing 1."""
        if self.stratified:
            normal = torch.special.ndtri(self.shares(batch_size, generator))
        else:
            normal = torch.randn(batch_size, generator=generator, device=generator.device)
        sigma = (self.mean + self.std * normal).sigmoid()
        return NoiseLevels(sigma, sigma * TRAIN_TIMESTEPS, torch.ones_like(sigma))

    def level_above(self, share: float) -> float:
        """See `KnowsRareLevels`."""
        logit = NormalDist(self.mean, self.std).inv_cdf(share)
        return float(torch.tensor(logit, dtype=torch.float64).sigmoid())


class Flux2Scheduler:
    """DiffSynth's `FlowMatchScheduler("FLUX.2")` for whole batches.

    Training draws one of 1000 noise levels shifted by mu = 0.8, weighted by DiffSynth's bell, which is 0 at pure
    noise. Sampling shifts by a mu that depends on the number of latents and of steps (1.77 for 30 steps at 256 x 256).
    DiffSynth's own methods look up one timestep a call; the tables here are its, the look-up is ours.

    Args:
        timestep_dtype: DiffSynth rounds the timestep to the dtype of the weights, and in training takes the table's
            noise level that is nearest to that. In `bfloat16` only 384 of the 1000 levels are ever drawn.
    """

    recordable = True

    def __init__(self, timestep_dtype: str = "float32") -> None:
        if timestep_dtype not in ("float32", "bfloat16"):
            raise UserError(f"scheduler.timestep_dtype={timestep_dtype}: must be float32 or bfloat16.")
        self.timestep_dtype = getattr(torch, timestep_dtype)
        self._on_device: dict[torch.device, Tensor] = {}

    def draw(self, batch_size: int, generator: torch.Generator) -> NoiseLevels:
        """One of DiffSynth's 1000 training noise levels for each sample, with its weight."""
        device = generator.device
        if device not in self._on_device:
            self._on_device[device] = self._table.to(device)
        index = torch.randint(TRAIN_TIMESTEPS, (batch_size,), generator=generator, device=device)
        return NoiseLevels(*self._on_device[device][:, index])

    @cached_property
    def _table(self) -> Tensor:
        """Sigma, timestep and weight of each training timestep, `3 1000`."""
        scheduler = _diffsynth_scheduler()
        scheduler.set_timesteps(TRAIN_TIMESTEPS, training=True)
        rounded = scheduler.timesteps.to(self.timestep_dtype).float()
        nearest = (scheduler.timesteps - rounded[:, None]).abs().argmin(dim=1)
        return torch.stack([scheduler.sigmas[nearest], rounded, scheduler.linear_timesteps_weights[nearest]])

    def sampling_sigmas(self, steps: int, tokens: int, denoising_strength: float = 1.0) -> Tensor:
        """DiffSynth's noise levels for so many steps and latents, and the 0 that its last step goes to."""
        scheduler = _diffsynth_scheduler()
        scheduler.set_timesteps(steps, denoising_strength=denoising_strength, dynamic_shift_len=tokens)
        return torch.cat([scheduler.sigmas, torch.zeros(1)])


def _diffsynth_scheduler() -> Any:
    from diffsynth.diffusion import FlowMatchScheduler  # 10 s to import, and only this scheduler needs it

    return FlowMatchScheduler("FLUX.2")
