"""What of our own objective's keys does not go together: told when a config is composed."""

import logging
import os
from collections.abc import Collection, Iterator
from dataclasses import fields
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf

from aaa.config.as_schema import as_schema
from aaa.config.objective_schema import TERMS, AlignConfig, ObjectiveConfig, PerceptualConfig, VisionConfig
from aaa.config.ranges import require_ranges
from aaa.config.routing import routed_blocks
from aaa.config.vision import require_vision_folder
from aaa.errors import UserError

logger = logging.getLogger(__name__)

OURS = "aaa.objectives.flow_matching.FlowMatching"
CLEAN = "aaa.diffusion.prediction.CleanPrediction"
BELL = "aaa.diffusion.schedulers.Flux2Scheduler"
INTERNAL = "aaa.objectives.internal.Internal"
PERCEPTUAL = "aaa.objectives.perceptual.Perceptual"
# Of target=vision, whether a term says so or not.
VISIONS = {PERCEPTUAL: "aaa.encoders.differentiable_vision.DifferentiableVision"}
VISION = "aaa.encoders.vision.VisionModel"
PIXELS = "aaa.encoders.pixel.PixelVAE"
NOT_SAID = ("vision", "model_head")  # keys that follow from others, or are looked into
USED_WITH = {"min_snr_gamma": ("weighting", "min_snr"), "coupling_candidates": ("coupling", "nearest")}


def check_objective(config: DictConfig) -> None:
    """Refuse what an objective of ours cannot be, by itself or with the rest of the run; others are not looked into.

    Raises:
        UserError: naming the key, or the two that do not go together.
    """
    if OmegaConf.select(config, "objective._target_") != OURS:
        return
    _check_internal_head(config)
    objective: Any = OmegaConf.to_container(config.objective, resolve=True)
    if not isinstance(objective.get("prediction"), dict):
        key = "objective.prediction"
        raise UserError(f"{key}={objective.get('prediction')}: must name a class with _target_, and its arguments.")
    _require_schema(ObjectiveConfig, objective, "objective")
    _refuse_clean_with_bell(config, objective)
    for name, term in (objective.get("terms") or {}).items():
        key = f"objective.terms.{name}"
        if term is None:
            continue
        if not isinstance(term, dict) or "_target_" not in term:
            raise UserError(f"{key}={term}: must name a class with _target_, and its arguments; or null.")
        if (schema := TERMS.get(term["_target_"])) is not None:
            _require_schema(schema, term, key)
        if term.get("weight"):
            _check_term(config, key, term)


def unread_settings(config: DictConfig, typed: Collection[str]) -> list[str]:
    """Settings of our objective that say something and are not read, each with why.

    Args:
        config: of a run.
        typed: keys that its command named. Where that turned a term off, what an option says of it is nobody's mistake.
    """
    if OmegaConf.select(config, "objective._target_") != OURS:
        return []
    objective = config.objective
    found = [
        f"objective.{key}={objective[key]} is only read with objective.{other}={value}"
        for key, (other, value) in USED_WITH.items()
        if objective.get(other) != value and objective.get(key) != _defaults(ObjectiveConfig)[key]
    ]
    return found + list(_unread_of_terms(objective.get("terms") or {}, typed))


def _unread_of_terms(terms: Any, typed: Collection[str]) -> Iterator[str]:
    for name, term in terms.items():
        schema = None if term is None else TERMS.get(term.get("_target_"))
        path = OmegaConf.select(term, "vision.path") if schema in (AlignConfig, PerceptualConfig) else None
        if path is not None and (not term.weight or term.target != "vision"):
            key = f"objective.terms.{name}"
            yield f"{key}.vision.path={path} is only read with {key}.target=vision and a weight above 0"
        if schema is None or term.get("weight"):
            continue
        weight = f"objective.terms.{name}.weight"
        for key, default in _defaults(schema).items():
            said = f"objective.terms.{name}.{key}"
            if weight in typed and said not in typed:
                continue
            if key not in NOT_SAID and default != MISSING and term.get(key, default) != default:
                yield f"{said}={term[key]} is not read: the term is off ({weight}=0)"


def _defaults(schema: type) -> dict[str, Any]:
    return {f.name: f.default for f in fields(schema)}


def _refuse_clean_with_bell(config: DictConfig, objective: dict[str, Any]) -> None:
    if objective["prediction"].get("_target_") != CLEAN:
        return
    weighting = objective.get("weighting", "scheduler")
    of_scheduler = weighting == "scheduler" and OmegaConf.select(config, "scheduler._target_") == BELL
    if of_scheduler or weighting == "flux2":
        key = "scheduler=flux2" if of_scheduler else "objective.weighting=flux2"
        raise UserError(
            f"objective=clean does not go with {key}: FLUX.2's bell of loss weights is made for models whose output is "
            "velocity, and counts for nothing at pure noise, where a clean picture is hardest to predict. Use "
            "objective.weighting=none (which keeps the scheduler's noise levels), or objective=velocity."
        )


def _check_internal_head(config: DictConfig) -> None:
    """Refuse a head of the model's that nothing would train, or not to the end."""
    block = config.model.get("internal_head")
    if block is None:
        return
    terms = (config.objective.get("terms") or {}).items()
    trained = [
        (f"objective.terms.{name}", term)
        for name, term in terms
        if term is not None and term.get("_target_") == INTERNAL and term.get("weight")
    ]
    if not trained:
        raise UserError(
            f"model.internal_head={block}: nothing trains it (objective.terms.internal.weight=0): 0.25, or leave "
            "model.internal_head out."
        )
    for key, term in trained:
        if term.get("until_step") is not None:
            raise UserError(
                f"model.internal_head={block}: {key}.until_step={term.until_step} ends its training before that of "
                "the model. Leave one of them out."
            )
        if term.get("after_block") != block or term.get("model_head") != block:
            raise UserError(
                f"model.internal_head={block}: {key}.after_block={term.get('after_block')} "
                f"{key}.model_head={term.get('model_head')}: these are one block; say after_block alone."
            )


def _check_term(config: DictConfig, key: str, term: dict[str, Any]) -> None:
    """Refuse a term that is on and cannot be computed."""
    depth, block = config.model.depth, term.get("after_block")
    if isinstance(block, int) and config.model.get("architecture") is None and not 1 <= block <= depth:
        raise UserError(
            f"{key}.after_block={block}: there is no such block, as model.depth={depth}. It must be at least 1 and at "
            f"most {depth}."
        )
    ours = VISIONS.get(term["_target_"], VISION)
    if term.get("target") == "vision" and (vision := term.get("vision") or {}).get("_target_", ours) == ours:
        _require_schema(VisionConfig, vision, f"{key}.vision")
        require_vision_folder(f"{key}.vision.path", vision.get("path"))
    if term.get("target") == "hog" and (side := config.encoder.downscale_factor) % (cells := term.get("cells", 1)):
        raise UserError(
            f"{key}.cells={cells}: the {side} pixels of a latent's side (encoder.downscale_factor) cannot be divided "
            f"so. Use {key}.cells=1, or another divisor."
        )
    if term["_target_"] == PERCEPTUAL:
        _check_perceptual(config, key, term)
    if term.get("projector") == "conv":
        _refuse_conv_of_routed_tokens(config, key, block)
    trainer = config.trainer
    compares = term["_target_"].endswith((".Contrastive", ".Dispersive"))
    if compares and isinstance(trainer.batch_size, int):
        parts = trainer.gradient_accumulation_steps * int(os.environ.get("WORLD_SIZE") or 1)
        if trainer.batch_size // parts < 2:
            told = f"trainer.gradient_accumulation_steps={trainer.gradient_accumulation_steps}"
            raise UserError(
                f"{key}.weight={term['weight']} does not go with trainer.batch_size={trainer.batch_size} and {told}: "
                "it compares samples that are computed together, and there is one at a time."
            )


def _check_perceptual(config: DictConfig, key: str, term: dict[str, Any]) -> None:
    """Refuse to compare what are no pictures, or in cells that do not divide them."""
    if (vae := OmegaConf.select(config, "encoder.vae._target_")) != PIXELS:
        raise UserError(
            f"{key}.weight={term['weight']} does not go with encoder.vae={vae}: it compares pictures, and to decode "
            "them at each step is not provided for. Use encoder=pixel or encoder=patches, whose latents are pixels."
        )
    side, cell = config.encoder.downscale_factor, term.get("cell_pixels", 4)
    if term.get("target", "hog") == "hog" and side % cell:
        raise UserError(
            f"{key}.cell_pixels={cell}: does not divide the {side} pixels of a latent's side "
            f"(encoder.downscale_factor). Use {key}.cell_pixels={side}, or another divisor."
        )


def _refuse_conv_of_routed_tokens(config: DictConfig, key: str, block: Any) -> None:
    """Where some tokens have gone around blocks, their neighbours' hidden states are not of the same block."""
    if (blocks := routed_blocks(config)) is None:
        return
    first, last = blocks
    if isinstance(block, int) and first <= block <= last:
        raise UserError(
            f"{key}.projector=conv does not go with routing.kind={config.routing.kind}: after block {block} "
            f"({key}.after_block) a token's neighbours may have gone around blocks {first} to {last}. Use "
            f"{key}.projector=linear, or a block before {first}."
        )


def _require_schema(schema: type, node: dict[str, Any], key: str) -> None:
    """Refuse a node with keys that its schema does not know, values that are of another type, or out of range."""
    values = {name: value for name, value in node.items() if name != "_target_"}
    as_schema(schema, values, f"{key}.")
    require_ranges(schema, values, f"{key}.")
