"""Configs that earlier versions wrote, as today's code reads them."""

from typing import Any

from omegaconf import DictConfig, open_dict

# What there was only one of before it became a group, and so was not said.
IMPLIED: dict[str, dict[str, Any]] = {
    "objective": {
        "_target_": "aaa.objectives.flow_matching.FlowMatching",
        "prediction": {"_target_": "aaa.diffusion.prediction.VelocityPrediction"},
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
    return config
