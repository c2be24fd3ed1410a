"""Prompts of one's own, embedded as those of the latent cache are: once, and kept beside it for later runs."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig
from safetensors import SafetensorError, safe_open
from torch import Tensor

from aaa.assembly.parts import build_encoders, missing_weights
from aaa.config.prompts import KEY
from aaa.data.cache import LatentCache
from aaa.data.tensor_files import save_tensors
from aaa.encoders.embedding import embed
from aaa.encoders.prompts import normalised
from aaa.encoders.protocols import HasWeights
from aaa.errors import UserError, reason
from aaa.tracking.files import written_aside

logger = logging.getLogger(__name__)

FOLDER = "prompts"  # in data.cache_dir
EMBEDS, LENGTHS = "prompt_embeds", "lengths"


@dataclass(frozen=True)
class OwnPrompts:
    """Prompts that are no record's.

    Attributes:
        prompts: as they were given.
        prompt_embeds: `N L D` on the CPU, cut and rounded as those of the cache are when they are read.
        lengths: tokens of each, before padding or cutting.
    """

    prompts: Sequence[str]
    prompt_embeds: Tensor
    lengths: Sequence[int]


def embed_own_prompts(config: DictConfig, cache: LatentCache, prompts: Sequence[str], device: str) -> OwnPrompts:
    """Embed prompts with the text encoder that a cache was made with, which is let go of again.

    Where an earlier run of the same cache has embedded the same ones, it is not loaded.

    Args:
        config: of the run.
        cache: that it is trained on.
        prompts: to embed.
        device: to embed on.

    Raises:
        UserError: if the text encoder's weights are missing, or it cannot embed them.
    """
    texts = [normalised(prompt) for prompt in prompts]
    told = json.dumps([cache.fingerprint, texts])
    file = Path(config.data.cache_dir) / FOLDER / f"{hashlib.sha256(told.encode()).hexdigest()[:32]}.safetensors"
    found = _read(file)
    if found is None:
        found = _embedded(config, texts, device, cache.empty_prompt_embeds.dtype)
        _keep(file, *found)
    prompt_embeds, lengths = found
    return OwnPrompts(prompts, prompt_embeds[:, : cache.prompt_shape[0]].float(), lengths.tolist())


@torch.no_grad()
def _embedded(config: DictConfig, texts: Sequence[str], device: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Embeddings of all tokens that are kept, `N L D`, and how many tokens each text has, `N`."""
    _, text_encoder = build_encoders(config)
    if isinstance(text_encoder, HasWeights):
        if missing := missing_weights([text_encoder]):
            raise UserError(
                f"{KEY}: none has embedded them yet, and weights of the text encoder are missing:\n  {missing[0]}"
            )
        text_encoder.to(device)
    parts, lengths = [], []
    for first in range(0, len(texts), config.encoder.batch_size):
        prompt_embeds, tokens = embed(text_encoder, texts[first : first + config.encoder.batch_size])
        parts.append(prompt_embeds.detach().to("cpu", dtype))
        lengths += tokens
    return torch.cat(parts), torch.tensor(lengths)


def _read(file: Path) -> tuple[Tensor, Tensor] | None:
    if not file.is_file():
        return None
    try:
        with safe_open(file, "pt") as kept:
            return kept.get_tensor(EMBEDS), kept.get_tensor(LENGTHS)
    except (OSError, SafetensorError) as error:
        logger.warning("%s is damaged (%s); the prompts are embedded again.", file, reason(error))
        return None


def _keep(file: Path, prompt_embeds: Tensor, lengths: Tensor) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(file) as aside:
            save_tensors({EMBEDS: prompt_embeds.contiguous(), LENGTHS: lengths}, aside)
    except (OSError, SafetensorError) as error:
        logger.warning(
            "%s: cannot be written (%s). A run that goes on embeds the prompts of %s again.", file, reason(error), KEY
        )
