"""A random order of any number of things by formula: who stands at a place is computed, and no list is held.

A Feistel network over pairs of numbers is a permutation whatever its round function is (Luby & Rackoff 1988). Over the
pairs below a, with a * a just above the length, what lands beyond the length is put through again until it does not:
cycle walking (Black & Rogaway 2002, section 3).
"""

import hashlib
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

ROUNDS = 8


def permuted(places: Tensor, length: int, *key: int | str) -> Tensor:
    """Who stands at these places of a random order of 0 ... length - 1.

    Args:
        places: below `length`, `B` int64.
        length: of the order.
        key: another gives another order.

    Returns:
        Numbers below `length`, `B` int64, different for different places.
    """
    side = math.isqrt(length - 1) + 1  # the least whose square is no less than the length
    keys = _round_keys(key)
    values = _network(places.numpy().astype(np.uint64), side, keys)
    while (beyond := values >= length).any():
        values[beyond] = _network(values[beyond], side, keys)
    return torch.from_numpy(values.astype(np.int64))


def mixed(values: Any) -> Any:
    """Numbers with nothing in common with those they are made from, one to one, uint64 (SplitMix64's finaliser)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _network(values: Any, side: int, keys: Any) -> Any:
    left, right = values // np.uint64(side), values % np.uint64(side)
    for key in keys:
        left, right = right, (left + mixed(right ^ key)) % np.uint64(side)
    return left * np.uint64(side) + right


def _round_keys(key: tuple[int | str, ...]) -> Any:
    return np.frombuffer(hashlib.shake_128(repr(key).encode()).digest(8 * ROUNDS), np.uint64)
