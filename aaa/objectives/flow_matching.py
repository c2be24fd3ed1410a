"""Flow matching along straight lines (Lipman et al. 2023, Liu et al. 2022)."""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from aaa.data.batch import Batch
from aaa.diffusion.prediction import Model, Prediction
from aaa.diffusion.schedulers import NoiseScheduler, add_noise, drawn_levels
from aaa.errors import UserError
from aaa.models.forward import in_training, require_hidden, require_internal_head, without_wrapper
from aaa.objectives.coupling import immiscible, make_coupling
from aaa.objectives.cuda_graph import may_be_recorded
from aaa.objectives.terms import Draws, Extra, ForwardPass, Term, Watched, mean_over, require_term
from aaa.objectives.weighting import make_weighting


class Objective(Protocol):
    """What is learned; named by `_target_` in conf/objective.

    Made with a noise scheduler, the embeddings of the empty prompt and the share of prompts to drop.

    Attributes:
        prediction: what the model predicts, by which it is also validated and sampled.
    """

    prediction: Prediction

    @property
    def extras(self) -> Mapping[str, Extra]:
        """What it needs of the cache beside latents and prompts, by name."""
        ...

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """What it trains besides the model, by name: in checkpoints, in no exported model."""
        ...

    def use(self, modules: Mapping[str, nn.Module]) -> None:
        """Ask these from now on in place of `modules`, of which they are what `accelerate` has prepared."""
        ...

    def draw(self, latents: Tensor, generator: torch.Generator) -> Draws:
        """What is random for a batch of latents: the same for the same generator."""
        ...

    def __call__(self, model: Model, batch: Batch, generator: torch.Generator, step: int) -> Mapping[str, Tensor]:
        """The terms of the loss by name, `B` float32 each; training minimises the mean of their sum.

        Args:
            model: what is trained.
            batch: on its device, of its dtype.
            generator: of all that is random at this step.
            step: its number, from 0.
        """
        ...


class FlowMatching:
    """Squared error of the velocity at random noise levels, some prompts dropped for classifier-free guidance.

    Args:
        scheduler: draws noise levels and, where `weighting` says so, their weights.
        empty_prompt_embeds: of the empty prompt, `L D`.
        prompt_dropout: chance that a prompt is dropped (Ho and Salimans 2022).
        prediction: what the model predicts.
        weighting: how much each noise level counts: `scheduler`, `none`, `flux2` or `min_snr`.
        min_snr_gamma: of `min_snr`.
        coupling: which noise comes with which picture: `independent`, `immiscible` or `nearest`.
        coupling_candidates: draws for each picture, of `nearest`.
        terms: that add to the error, by name; those of weight 0 are left out.

    Raises:
        UserError: if there is no such weighting or coupling, or a term is none.
    """

    recordable = True

    def __init__(
        self,
        scheduler: NoiseScheduler,
        empty_prompt_embeds: Tensor,
        prompt_dropout: float,
        prediction: Prediction,
        weighting: str = "scheduler",
        min_snr_gamma: float = 5.0,
        coupling: str = "independent",
        coupling_candidates: int = 8,
        terms: Mapping[str, Term | None] | None = None,
    ) -> None:
        self.scheduler, self.prediction = scheduler, prediction
        self.empty_prompt_embeds, self.prompt_dropout = empty_prompt_embeds, prompt_dropout
        self.weighting = make_weighting(weighting, min_snr_gamma, getattr(prediction, "least_sigma", 0.0))
        self.coupling = make_coupling(coupling, coupling_candidates)
        for name, term in (terms or {}).items():
            if term is not None:
                require_term(f"objective.terms.{name}", term)
        self.terms = {str(name): term for name, term in (terms or {}).items() if term is not None and term.weight}

    @property
    def extras(self) -> dict[str, Extra]:
        """What its terms need; see `Objective`."""
        return {name: extra for term in self.terms.values() for name, extra in term.extras.items()}

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Those of its terms, by the terms' names; see `Objective`."""
        return {name: term.module for name, term in self.terms.items() if term.module is not None}

    @property
    def unrecordable(self) -> str | None:
        """See `MayBeRecorded`."""
        if self.coupling is immiscible:
            return "objective.coupling=immiscible pairs pictures and noise on the CPU."
        terms = {f"objective.terms.{name}": term for name, term in self.terms.items()}
        for name, part in {"scheduler": self.scheduler, "objective.prediction": self.prediction, **terms}.items():
            if not may_be_recorded(part):
                return f"{name}={type(part).__name__} does not say that it may be (recordable = True)."
        for name, term in self.terms.items():
            if term.until_step is not None:
                return f"objective.terms.{name}.until_step ends a term midway."
        return None

    def use(self, modules: Mapping[str, nn.Module]) -> None:
        """See `Objective`."""
        for name, module in modules.items():
            self.terms[name].module = module

    def flops(self, height: int, width: int) -> int:
        """Of its terms' modules; see `AddsFlops`."""
        return sum(term.flops(height, width) for term in self.terms.values())

    def draw(self, latents: Tensor, generator: torch.Generator) -> Draws:
        """Prompts to drop, noise levels and noise for latents, `B C H W`, from a generator on their device."""
        size, device = len(latents), latents.device
        dropped = torch.zeros(size, dtype=torch.bool, device=device)
        if self.prompt_dropout:
            dropped = torch.rand(size, generator=generator, device=device) < self.prompt_dropout
        levels = drawn_levels(self.scheduler, size, generator)
        return Draws(dropped, levels, self.coupling(latents, generator))

    def __call__(self, model: Model, batch: Batch, generator: torch.Generator, step: int) -> dict[str, Tensor]:
        """The weighted error of each sample's velocity, and what terms add to it; see `Objective`."""
        latents, prompt_embeds = batch.latents, batch.prompt_embeds
        draws = self.draw(latents, generator)
        sigma, timestep, _ = draws.levels
        if self.prompt_dropout:
            prompt_embeds = torch.where(draws.dropped[:, None, None], self.empty_prompt_embeds, prompt_embeds)
        noised = add_noise(latents, draws.noise, sigma)
        terms = {name: term for name, term in self.terms.items() if term.is_on(step)}
        for name, term in terms.items():
            if term.after_blocks:
                require_hidden(model, term.after_blocks, f"objective.terms.{name}.after_block")
            if term.wants_internal:
                require_internal_head(model, f"objective.terms.{name}")
        watched = Watched(in_training(model, generator), list(terms.values()))
        predicted = self.prediction.velocity(watched, noised, prompt_embeds, timestep, sigma)
        if not isinstance(predicted, Tensor) or predicted.shape != latents.shape:
            raise UserError(_no_velocity(self.prediction, without_wrapper(model), predicted, latents))
        weight = self.weighting(draws.levels)

        def velocity_of(output: Tensor) -> Tensor:
            return self.prediction.velocity(lambda *_: output, noised, prompt_embeds, timestep, sigma)

        done = ForwardPass(
            batch, draws, weight, predicted, watched.hidden, velocity_of, watched.internal, watched.computed
        )
        error = weight * velocity_error(predicted, latents, draws.noise)
        # What has ended stays as 0, so that the terms of every row of metrics sum to the loss.
        ended = {name: torch.zeros_like(error) for name in self.terms if name not in terms}
        added = {name: _added(name, term, done, len(error)) for name, term in terms.items()}
        return {"velocity": error} | ended | added


def _added(name: str, term: Term, done: ForwardPass, samples: int) -> Tensor:
    """What a term adds to the loss of each sample, `B`."""
    found: object = term(done)
    if not isinstance(found, Tensor) or found.shape != (samples,):
        raise UserError(
            f"objective.terms.{name}: {type(term).__name__} gives {_described(found)}, and has to give a number for "
            f"each sample: {(samples,)}."
        )
    return term.weight * found


def _no_velocity(prediction: Prediction, model: object, given: object, latents: Tensor) -> str:
    return (
        f"The velocity that {type(prediction).__name__} (objective.prediction) takes from what {type(model).__name__} "
        f"(model) predicts is {_described(given)}, and has to be one of the latents' shape, {tuple(latents.shape)}. A "
        "model of model.architecture predicts as many channels as it is given (docs/extending.md)."
    )


def _described(given: object) -> str:
    return f"a tensor of shape {tuple(given.shape)}" if isinstance(given, Tensor) else f"a {type(given).__name__}"


def velocity_error(predicted: Tensor, latents: Tensor, noise: Tensor, computed: Tensor | None = None) -> Tensor:
    """Mean squared error of predicted velocities, `B` float32; all arguments `B C H W`.

    Args:
        predicted, latents, noise: see above.
        computed: which places count, see `mean_over`.
    """
    velocity = noise - latents  # rectified flow target
    return mean_over((predicted.float() - velocity.float()).square(), computed)
