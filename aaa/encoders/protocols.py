"""What an encoder must offer. Any class with these attributes works, named by `_target_` in conf/encoder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor

from aaa.encoders.statistics import LatentStatistics


class VAE(Protocol):
    """Pictures to latents and back."""

    latent_channels: int
    downscale_factor: int

    def encode(self, images: Tensor) -> Tensor:
        """Images in -1..1, `B 3 H W` float32, to latents, `B latent_channels H/f W/f`."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Latents, `B latent_channels h w`, to images in -1..1, `B 3 h*f w*f`."""
        ...


class TextEncoder(Protocol):
    """Prompts to prompt_embeds."""

    prompt_dim: int
    max_length: int

    def encode(self, prompts: list[str]) -> tuple[Tensor, list[int]]:
        """Embeddings, `B max_length prompt_dim`, and each prompt's number of tokens before padding or cutting."""
        ...


@runtime_checkable
class LearnsWords(Protocol):
    """A text encoder to which a word means nothing but what training teaches."""

    def learned_words(self, prompt: str) -> list[str]:
        """What it makes tokens of, one each; what is cut off is none."""
        ...


@runtime_checkable
class HasWeights(Protocol):
    """An encoder that loads files, at its first use and not before."""

    @property
    def weight_files(self) -> Sequence[Path]:
        """The files that hold what it computes with."""
        ...

    def fetch_files(self) -> None:
        """Download those that are missing, where that is possible; missing ones are no error yet."""
        ...

    def missing_files(self) -> str | None:
        """None if all files are there, else a message: which are missing, where, and how to get them."""
        ...

    def to(self, device: str) -> None:
        """Compute on this device from now on."""
        ...


@runtime_checkable
class NormalisesLatents(Protocol):
    """A VAE whose latents are normalised by the statistics of the data that a model is trained on.

    As long as `statistics` is None, `encode` gives raw latents and `decode` takes them.
    """

    statistics: LatentStatistics | None
