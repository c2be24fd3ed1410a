"""Configs that earlier versions wrote, as today's code reads them."""

from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from aaa.config.mixture import data_schema
from aaa.config.schema import GROUPS

# What there was only one of before it became a group, and so was not said.
IMPLIED: dict[str, dict[str, Any]] = {
    "objective": {
        "_target_": "aaa.objectives.flow_matching.FlowMatching",
        "prediction": {"_target_": "aaa.diffusion.prediction.VelocityPrediction"},
        "weighting": "scheduler",
        "min_snr_gamma": 5.0,
        "coupling": "independent",
        "coupling_candidates": 8,
        "terms": {
            "contrastive": {"_target_": "aaa.objectives.contrastive.Contrastive", "weight": 0.0, "until_step": None},
            "dispersive": {
                "_target_": "aaa.objectives.dispersive.Dispersive",
                "weight": 0.0,
                "after_block": 2,
                "temperature": 0.5,
                "until_step": None,
            },
            "align": {
                "_target_": "aaa.objectives.align.Align",
                "weight": 0.0,
                "after_block": 2,
                "target": "hog",
                "cells": 1,
                "projector": "linear",
                "distance": "cosine",
                "spatial_norm": False,
                "vision": {"_target_": "aaa.encoders.vision.VisionModel", "path": None},
                "dim": "${model.dim}",
                "latent_channels": "${model.in_channels}",
                "until_step": None,
            },
            "internal": {
                "_target_": "aaa.objectives.internal.Internal",
                "weight": 0.0,
                "after_block": 2,
                "dim": "${model.dim}",
                "latent_channels": "${model.in_channels}",
                "until_step": None,
                "model_head": None,  # it was the term's, and stayed in the checkpoints
            },
            "perceptual": {
                "_target_": "aaa.objectives.perceptual.Perceptual",
                "weight": 0.0,
                "target": "hog",
                "below": 0.5,
                "cell_pixels": 4,
                "vision": {"_target_": "aaa.encoders.differentiable_vision.DifferentiableVision", "path": None},
                "until_step": None,
            },
        },
    },
    "sampler": {"_target_": "aaa.diffusion.samplers.Euler"},
    "guidance": {
        "_target_": "aaa.diffusion.guidance.PromptGuidance",
        "scale": "${sampling.guidance}",
        "interval": [0.0, 1.0],
        "rescale": 0.0,
    },
}


def upgrade(config: DictConfig) -> DictConfig:
    """Say in a run's or model's config what earlier versions took for granted; one of today's stays as it is."""
    with open_dict(config):
        for group, implied in IMPLIED.items():
            if config.get(group) is None:
                config[group] = implied
        if (sampling := config.get("sampling")) is not None:
            if sampling.get("guidance_interval") is None:
                sampling.guidance_interval = [0.0, 1.0]
            if "last_sigma" not in sampling:  # null says something
                sampling.last_sigma = 0.0
        if config.get("trainer") is not None and config.trainer.get("cuda_graph") is None:
            config.trainer.cuda_graph = False
        ours = IMPLIED["objective"]["_target_"]
        if config.objective.get("_target_", ours) == ours:
            config.objective = OmegaConf.merge(IMPLIED["objective"], config.objective)
    return config


def schemas_of(config: DictConfig) -> dict[str, type]:
    """The schemas of a run's groups that have one."""
    data = None if OmegaConf.is_interpolation(config, "data") else config.get("data")
    return GROUPS | {"data": data_schema(data if isinstance(data, DictConfig) else {})}


def fill_in(config: DictConfig) -> None:
    """Give the groups of a run that have a schema the defaults of keys that there were not when it was written.

    Those of classes and functions, whose arguments are their own, stay as they are.
    """
    with open_dict(config):
        for key, schema in schemas_of(config).items():
            if OmegaConf.is_interpolation(config, key):
                continue
            if config.get(key) is None:
                config[key] = {}
            if not isinstance(config[key], DictConfig):
                continue
            written = set(map(str, config[key]))  # `in` would pass over what refers to nothing yet
            config[key].update({name: value for name, value in _defaults(schema).items() if name not in written})


@cache
def _defaults(schema: type) -> dict[str, Any]:
    """What a schema has for keys that need not be said."""
    structured = OmegaConf.structured(schema)
    told: Any = OmegaConf.to_container(structured)
    return {name: value for name, value in told.items() if not OmegaConf.is_missing(structured, name)}
