"""From a composed config to the objects of a command. Everything below this layer takes plain arguments."""

import logging
import reprlib
from collections.abc import Callable, Iterable
from dataclasses import fields
from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.optim import Optimizer

from aaa.assembly.build import build, wrong_argument
from aaa.assembly.own_encoders import require_encoder
from aaa.config.routing import routed_blocks
from aaa.data.randomness import generator
from aaa.diffusion.sampling import Sampling
from aaa.diffusion.schedulers import NoiseScheduler, require_levels, require_scheduler
from aaa.encoders.flux2 import Flux2Encoder
from aaa.encoders.flux2_tiny import Flux2TinyVAE
from aaa.encoders.protocols import VAE, HasWeights, TextEncoder
from aaa.errors import UserError, require_call, require_methods, require_one_of
from aaa.models.design import Design
from aaa.models.factory import InitialisesItself, build_dit, require_init
from aaa.models.parameters import fused_matrices, matrices
from aaa.models.parametrization import Growth, growths, scale_initial_values
from aaa.models.routing import Routing
from aaa.models.sprint import Sprint
from aaa.objectives.flow_matching import Objective
from aaa.training.ema import EMA, keep_of
from aaa.training.lr_schedules import Schedule
from aaa.training.optimizers import KnowsFusedMatrices
from aaa.training.parameter_groups import DECAYED, decay_only, rates_by_batch_size, regroup
from aaa.training.parametrization import rates_by_growth

logger = logging.getLogger(__name__)

# What of the config's `model` is not for its class.
NO_NUMBERS = ("name", "init", "architecture", "block", "parametrization", "base_dim", "base_depth", "base_heads")
TRIED_TOKENS = 256  # of a picture, to see once whether a scheduler visits noise levels


def build_model(config: DictConfig) -> nn.Module:
    """The configured model, with random weights from torch's global generator.

    Numbers make an `AAADiT`, of blocks that `model.block` may name a class for; `model.architecture` may name another
    class, which gets the same numbers and draws its own initial values if it has any.

    Raises:
        UserError: if no model has these numbers, or the class will not have them.
    """
    model = _model_of(config, model_numbers(config), config.model.init)
    if config.model.get("parametrization") == "mup":
        scale_initial_values(model, growths_of(config, model))
    return model


def model_without_weights(config: DictConfig) -> nn.Module:
    """The configured model on torch's device `meta`, which takes no time and no memory.

    Raises:
        UserError: if no model has these numbers, or the class will not have them.
    """
    with torch.device("meta"):
        return _model_of(config, model_numbers(config), "torch")


def _model_of(config: DictConfig, numbers: dict[str, Any], init: str) -> nn.Module:
    if config.model.get("architecture") is None:
        return build_dit(**numbers, init=init)
    require_init(init)
    model = build(config, "model.architecture", **numbers)
    if not isinstance(model, nn.Module):
        raise UserError(f"model.architecture: {config.model.architecture._target_} makes no torch.nn.Module.")
    require_methods(model, ["forward"], "model.architecture", "training asks of a model")
    require_call(model.forward, ("latents", "prompt_embeds", "timestep"), "model.architecture")
    if isinstance(model, InitialisesItself) and init == "scaled":
        model.init_weights()
    return model


def model_numbers(config: DictConfig) -> dict[str, Any]:
    """What a model's class is made from: numbers, the switches of ours, and what makes its blocks if that is named."""
    of_config = [*NO_NUMBERS]
    if config.model.get("architecture") is not None:
        of_config += [f.name for f in fields(Design)]
    numbers = {str(key): value for key, value in config.model.items() if key not in of_config}
    if config.model.get("block") is not None:
        numbers["block"] = build(config, "model.block", _partial_=True)
    if (blocks := routed_blocks(config)) is not None:
        rate, path_drop = config.routing.rate, config.routing.get("path_drop")
        sprint = config.routing.kind == "sprint"
        numbers["routing"] = Sprint(rate, *blocks, path_drop) if sprint else Routing(rate, *blocks)
    return numbers


def growths_of(config: DictConfig, model: nn.Module) -> dict[str, Growth]:
    """How each parameter of the configured model has grown from the base that `model.base_dim` and the like describe.

    Raises:
        UserError: if that cannot be told.
    """
    numbers = model_numbers(config) | {"dim": config.model.base_dim, "heads": config.model.base_heads}
    with torch.device("meta"):
        base = _model_of(config, numbers, "torch")
    try:
        return growths(model, base, config.model.depth / config.model.base_depth)
    except ValueError as error:
        raise UserError(f"model.parametrization=mup: {error}. There is also model.parametrization=standard.") from error


def _build_scheduler(config: DictConfig) -> NoiseScheduler:
    scheduler: NoiseScheduler = build(config, "scheduler")
    require_scheduler(scheduler)
    return scheduler


def build_objective(config: DictConfig, empty_prompt_embeds: Tensor) -> Objective:
    """What the configured model learns.

    What it trains besides the model has initial values of the run's seed; torch's global generator stays as it is.

    Args:
        config: of a run.
        empty_prompt_embeds: of the empty prompt, `L D`, which dropped prompts are replaced by; like the model's inputs.

    Raises:
        UserError: if it cannot be made, or the scheduler draws no noise levels.
    """
    scheduler = _build_scheduler(config)
    with torch.random.fork_rng(devices=[]):
        require_levels(scheduler)
        torch.default_generator.manual_seed(generator(config.seed, "objective").initial_seed())
        objective: Objective = build(
            config,
            "objective",
            scheduler=scheduler,
            empty_prompt_embeds=empty_prompt_embeds,
            prompt_dropout=config.trainer.prompt_dropout,
        )
    for module in objective.modules.values():
        module.to(empty_prompt_embeds.device, empty_prompt_embeds.dtype)
    return objective


def build_average(config: DictConfig, model: nn.Module) -> EMA | None:
    """The average of a model's weights with the memory that `trainer.ema_decay` or `ema_memory` gives it, if any."""
    trainer = config.trainer
    keep = keep_of(trainer.ema_decay, trainer.get("ema_memory"), trainer.batch_size)
    return None if keep is None else EMA(model, keep)


def build_schedule(config: DictConfig, max_steps: int) -> Schedule:
    """The factor on the learning rate at each step of a run of so many."""
    schedule: Schedule = build(config, "lr_scheduler", max_steps=max_steps)
    return schedule


def build_optimizer(config: DictConfig, model: nn.Module, of_objective: nn.Module | None = None) -> Optimizer:
    """The configured optimizer of the model's parameters, which it is given with their names.

    Whichever it is, `optimizer.decayed` says of which parameters it decays the weights, and `model.parametrization` and
    `trainer.base_batch_size` how its learning rate and weight decay become those of each parameter.

    Args:
        config: of a run.
        model: what is trained.
        of_objective: what is trained besides; the names of its parameters begin with `objective.`.

    Raises:
        UserError: if it will not have its arguments.
    """
    made: partial[Optimizer] = build(config, "optimizer", _partial_=True)
    arguments = {key: value for key, value in made.keywords.items() if key != "decayed"}
    decayed = made.keywords.get("decayed", "all")
    require_one_of("optimizer.decayed", decayed, DECAYED)
    besides = nn.Module() if of_objective is None else of_objective
    named = [*model.named_parameters(), *besides.named_parameters(prefix="objective")]
    try:
        optimizer = made.func(named, **arguments)
        _require_optimizer(optimizer, made.func)
        if isinstance(optimizer, KnowsFusedMatrices):
            optimizer.know_fused_matrices(fused_matrices(model))
        if decayed == "matrices":
            kept = matrices(model) | {f"objective.{name}" for name in matrices(besides)}
            regroup(optimizer, named, decay_only(kept))
        if config.model.get("parametrization") == "mup":
            regroup(optimizer, named, rates_by_growth(growths_of(config, model)))
        if (base := config.trainer.get("base_batch_size")) is not None:
            regroup(optimizer, named, rates_by_batch_size(config.trainer.batch_size / base))
    except (TypeError, ValueError) as error:
        if (wrong := wrong_argument(made.func, arguments, "optimizer")) is not None:
            raise UserError(wrong) from error
        raise UserError(f"optimizer: {config.optimizer._target_} cannot be made: {error}") from error
    return optimizer


def _require_optimizer(optimizer: object, made_by: Callable[..., object]) -> None:
    if not isinstance(optimizer, Optimizer):
        name = getattr(made_by, "__name__", made_by)
        given = "is no torch.optim.Optimizer" if isinstance(made_by, type) else f"gives {reprlib.repr(optimizer)}"
        raise UserError(
            f"optimizer: {name} {given}, and has to be a subclass of torch.optim.Optimizer or a function that gives "
            "one (docs/extending.md)."
        )


def build_encoders(config: DictConfig) -> tuple[VAE, TextEncoder]:
    """The VAE and the text encoder of a config, neither of which has loaded any weights yet.

    Raises:
        UserError: if one is no encoder, or what it says of itself is not what the config says.
    """
    vae, text_encoder = (build(config, f"encoder.{part}") for part in ("vae", "text_encoder"))
    require_encoder(vae, "encoder.vae")
    require_encoder(text_encoder, "encoder.text_encoder")
    encoder = config.encoder
    for key, said, found in (
        ("latent_channels", encoder.latent_channels, vae.latent_channels),
        ("downscale_factor", encoder.downscale_factor, vae.downscale_factor),
        ("prompt_dim", encoder.prompt_dim, text_encoder.prompt_dim),
    ):
        if said != found:
            raise UserError(f"encoder.{key}={said}, but the encoder itself has {found}.")
    return vae, text_encoder


def build_sampling(config: DictConfig) -> Sampling:
    """How the model of a run's or saved model's config is sampled.

    Raises:
        UserError: if that cannot be made, or the scheduler visits no noise levels.
    """
    sampling = Sampling(
        _build_scheduler(config),
        build(config, "sampler"),
        build(config, "guidance"),
        build(config, "objective.prediction"),
        config.sampling.steps,
        config.sampling.last_sigma,
    )
    sampling.sigmas(TRIED_TOKENS)
    return sampling


def missing_weights(parts: Iterable[HasWeights]) -> list[str]:
    """What these encoders still miss after downloading what can be: a message each, with what to do by hand."""
    messages = []
    for part in parts:
        if part.missing_files():
            part.fetch_files()
        if message := part.missing_files():
            messages.append(message)
    return messages


def build_preview(vae: VAE, path: str) -> VAE:
    """TAEF2 in this folder, set up to decode the latents of FLUX.2's VAE cheaply.

    Raises:
        UserError: if it is not FLUX.2's VAE that is to be previewed, or files are missing.
    """
    if not isinstance(vae, Flux2Encoder):
        raise UserError(f"preview={path}: only latents of FLUX.2's VAE (encoder=flux2_qwen3) have previews.")
    preview = Flux2TinyVAE(path)
    if message := preview.missing_files():
        raise UserError(f"Weights are missing:\n  {message}")
    preview.statistics = vae.latent_statistics()
    preview.to(vae.device)
    return preview
