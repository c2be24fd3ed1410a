"""Caches with embeddings and without, made from the same pictures and prompts by the same encoders: one's latents are
the other's.
"""

import json
from typing import Any

from aaa.data.cache import LatentCache
from aaa.data.cache_folder import INDEX
from aaa.data.fingerprint import fingerprint
from aaa.data.mixed_cache import MixedCache, fingerprint_within, joined_fingerprint

LATENTS_ALONE: dict[str, Any] = {"prompt_embeds": False}  # what shapes a cache without embeddings, beside the rest


def has_latents_of(cache: LatentCache, trained_on: str) -> bool:
    """Whether a cache has the latents of one with this fingerprint: it is that one, or is but for embeddings.

    Args:
        cache: opened.
        trained_on: fingerprint of a cache that need not be there any more.
    """
    if isinstance(cache, MixedCache):
        parts = {name: fingerprint_within(trained_on, name) or "" for name in cache.parts}
        same = all(has_latents_of(part, parts[name]) for name, part in cache.parts.items())
        return same and joined_fingerprint(parts) == trained_on
    if cache.fingerprint == trained_on:
        return True
    origin = json.loads((cache.path / INDEX).read_text(encoding="utf-8")).get("origin") or {}
    embedded = {key: value for key, value in origin.items() if key not in LATENTS_ALONE}
    counterpart = embedded if embedded != origin else origin | LATENTS_ALONE
    return fingerprint(counterpart) == trained_on
