"""The config of a run with all its values: what was asked for, and what came of it."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from aaa.assembly.own_prompts import OwnPrompts
from aaa.assembly.training_data import TrainingData
from aaa.encoders.protocols import NormalisesLatents
from aaa.run.length import RunLength
from aaa.tracking.redaction import without_secrets


def resolve(config: DictConfig) -> dict[str, Any]:
    """As it was asked for, without secrets."""
    resolved: dict[str, Any] = without_secrets(OmegaConf.to_container(config, resolve=True))
    return resolved


def resolve_run(
    config: DictConfig, data: TrainingData, length: RunLength, own: OwnPrompts | None = None
) -> dict[str, Any]:
    """As it came to be: with the lengths and statistics of its data, its batch size, its steps, prompts of a file."""
    resolved = resolve(config) | {"encoder": resolve_encoder(config, data)}
    resolved["trainer"] |= {"batch_size": length.batch_size, "max_steps": length.max_steps}
    if own is not None:
        resolved["sampling"] |= {"prompts": [*own.prompts]}
    return resolved


def resolve_encoder(config: DictConfig, data: TrainingData) -> dict[str, Any]:
    """Of a run's config, with the lengths and statistics of its data."""
    encoder: dict[str, Any] = resolve(config)["encoder"] | {"prompt_tokens": data.cache.prompt_shape[0]}
    if isinstance(data.vae, NormalisesLatents):
        assert data.vae.statistics is not None
        statistics = {"latent_mean": list(data.vae.statistics.mean), "latent_std": list(data.vae.statistics.std)}
        encoder["vae"] |= statistics
    return encoder


def without_statistics(resolved: dict[str, Any]) -> dict[str, Any]:
    """Without the hundreds of numbers that nobody wants to see in a table of runs."""
    encoder = resolved["encoder"]
    vae = {key: value for key, value in encoder["vae"].items() if not key.startswith("latent_")}
    return resolved | {"encoder": encoder | {"vae": vae}}
