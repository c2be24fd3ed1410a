"""From a composed config to what embeds prompts while a run trains: `encoder.cache_prompts=false`."""

import torch
from omegaconf import DictConfig

from aaa.assembly.own_encoders import require_prompt_embeds
from aaa.assembly.parts import build_encoders, missing_weights
from aaa.config.live_prompts import KEY
from aaa.encoders.prompt_embedder import PromptEmbedder
from aaa.encoders.protocols import HasWeights
from aaa.errors import UserError


def build_prompt_embedder(config: DictConfig, dtype: torch.dtype, device: str) -> PromptEmbedder:
    """The config's text encoder on this device, with its weights.

    Args:
        config: of a run.
        dtype: that the run's latent cache keeps embeddings in, or would.
        device: that trains.

    Raises:
        UserError: if weights are missing, or it gives no embeddings.
    """
    _, text_encoder = build_encoders(config)
    if isinstance(text_encoder, HasWeights):
        if missing := missing_weights([text_encoder]):
            raise UserError(f"{KEY}=false: weights of the text encoder are missing:\n  {missing[0]}")
        text_encoder.to(device)
    with torch.random.fork_rng(devices=[]):  # an encoder may draw what its weights are loaded into
        require_prompt_embeds(text_encoder)
        return PromptEmbedder(text_encoder, dtype, torch.device(device))
