"""Whether a run embeds its prompts while it trains, instead of reading them from the latent cache.

That is `encoder.cache_prompts=false`; caches and batches of such runs are called live.
"""

from omegaconf import DictConfig

KEY = "encoder.cache_prompts"


def embeds_while_training(config: DictConfig) -> bool:
    """What `encoder.cache_prompts=false` says; configs of earlier versions do not have it."""
    return config.encoder.get("cache_prompts") is False


def leave_unsaid(encoder: DictConfig) -> None:
    """Make `encoder.cache_prompts=true` `null`, which says the same: one setting, not two, to `aaa.compare`."""
    if encoder.get("cache_prompts") is True:
        encoder.cache_prompts = None
