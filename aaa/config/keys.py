"""What the text of a key holds, and how large some numbers may be."""

from dataclasses import field
from typing import Any

from omegaconf import MISSING

MAX_STEPS = 10_000  # of a sampler
MAX_GUIDANCE = 1000  # float32 overflows long after pictures are nothing but black
MAX_IMAGES = 100_000
MAX_SIDE = 16_384  # pixels
MAX_HEADS = 65_536
HOLDS = "holds"  # of a text's metadata: `path`, or `prose` such as a prompt, in which every character is only itself


def path_key(default: str | None = MISSING) -> Any:
    """A key whose text is a path."""
    return field(default=default, metadata={HOLDS: "path"})


def prose_key(default: str | None = MISSING) -> Any:
    """A key whose text is written for people."""
    return field(default=default, metadata={HOLDS: "prose"})
