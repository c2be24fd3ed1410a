"""One of each thing that can be plugged in. Copy what you need."""

from collections.abc import Iterable, Sequence
from functools import partial

import torch
from PIL import Image, ImageColor, ImageStat
from torch import Tensor, nn
from torch.nn import functional as F

from aaa.data.records import Record
from aaa.evaluation.evaluated_model import EvaluatedModel
from aaa.models.block import DiTBlock

COLORS = ("red", "lime", "blue", "yellow", "black", "white")


class Gradients:
    """A data set: pictures that go from one colour to another. Any class with `__len__` and `__getitem__` is one.

    Args:
        resolution: side of the pictures, in pixels.
    """

    def __init__(self, resolution: int) -> None:
        self.resolution = resolution
        self.pairs = [(one, other) for one in COLORS for other in COLORS if one != other]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Record:
        one, other = self.pairs[index]
        # `load` is called when the picture is needed: a source of a million files opens none of them before.
        return Record(key=f"{one}-{other}", prompt=f"{one} to {other}", load=partial(self._draw, one, other))

    def _draw(self, one: str, other: str) -> Image.Image:
        mask = Image.linear_gradient("L").resize((self.resolution, self.resolution))
        ends = [Image.new("RGB", mask.size, ImageColor.getrgb(color)) for color in (other, one)]
        return Image.composite(*ends, mask)


class HaarVAE:
    """An encoder of pictures: sums and differences of neighbouring pixels, at half the size and without loss."""

    latent_channels = 12
    downscale_factor = 2

    def __init__(self) -> None:
        ends = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
        self.mix = torch.block_diag(ends, ends, ends)  # its own inverse

    def encode(self, images: Tensor) -> Tensor:
        """Pictures in -1..1, `B 3 H W`, to latents, `B 12 H/2 W/2`."""
        return torch.einsum("oi,bihw->bohw", self.mix.to(images), F.pixel_unshuffle(images, 2))

    def decode(self, latents: Tensor) -> Tensor:
        """Latents, `B 12 h w`, to pictures, `B 3 2h 2w`."""
        return F.pixel_shuffle(torch.einsum("oi,bihw->bohw", self.mix.to(latents), latents), 2)


class ConvDenoiser(nn.Module):
    """A model of another kind: convolutions over the latents, with prompt and timestep added to every place.

    It gets the numbers of the config's `model`, and whatever else stands beside `_target_`.

    Args:
        dim: channels within.
        depth: residual blocks.
        in_channels: of the latents.
        text_dim: width of the prompt embeddings.
        kernel_size: of the convolutions.
        unused: numbers that only a transformer has.
    """

    def __init__(
        self, dim: int, depth: int, in_channels: int, text_dim: int, kernel_size: int = 3, **unused: float
    ) -> None:
        del unused
        super().__init__()
        self.before = nn.Conv2d(in_channels, dim, 1)
        self.told = nn.Linear(text_dim + 1, dim)
        self.blocks = nn.ModuleList(nn.Conv2d(dim, dim, kernel_size, padding="same") for _ in range(depth))
        self.after = nn.Conv2d(dim, in_channels, 1)

    def forward(self, latents: Tensor, prompt_embeds: Tensor, timestep: Tensor) -> Tensor:
        """Velocity, as the latents `B C H W`, from prompt_embeds `B L D` and timestep `B` (or 1) in 0..1000."""
        level = (timestep / 1000).expand(len(latents))[:, None].to(latents.dtype)
        told = self.told(torch.cat([prompt_embeds.mean(dim=1), level], dim=1))
        x = self.before(latents) + told[:, :, None, None]
        for block in self.blocks:
            x = x + block(F.silu(x))
        return self.after(x)


class SwiGLU(nn.Module):
    """A gated MLP (Shazeer 2020) of two thirds the width, so with about as many parameters as the plain one."""

    def __init__(self, dim: int, mlp_ratio: float) -> None:
        super().__init__()
        hidden = round(dim * mlp_ratio * 2 / 3)
        self.to_hidden = nn.Linear(dim, 2 * hidden)
        self.to_out = nn.Linear(hidden, dim)

    def fused_matrices(self) -> dict[str, int]:
        """What makes values and what makes gates, which Muon may take apart."""
        return {"to_hidden.weight": 2}

    def forward(self, x: Tensor) -> Tensor:
        """Tokens in, tokens out."""
        value, gate = self.to_hidden(x).chunk(2, dim=-1)
        return self.to_out(F.silu(gate) * value)


class GatedBlock(DiTBlock):
    """A block of another kind: ours with a gated MLP. FLOPs and the other initial values follow by themselves."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float) -> None:
        super().__init__(dim, heads, mlp_ratio)
        self.ff: nn.Module = SwiGLU(dim, mlp_ratio)

    def layers_to_stream(self) -> list[nn.Linear]:
        """Those that begin small."""
        return [self.to_out, self.ff.to_out]


def nesterov(
    named_parameters: Iterable[tuple[str, nn.Parameter]], learning_rate: float, momentum: float
) -> torch.optim.Optimizer:
    """An optimizer: a function of named parameters (a class of torch.optim needs no function of its own)."""
    parameters = [parameter for _, parameter in named_parameters]
    return torch.optim.SGD(parameters, lr=learning_rate, momentum=momentum, nesterov=True)


class Brightness:
    """A metric: how far the mean brightness of drawn pictures is from that of the data, in 0..1.

    Args:
        num_images: to draw.
    """

    def __init__(self, num_images: int) -> None:
        self.num_images = num_images

    def evaluate(self, evaluated: EvaluatedModel) -> dict[str, float]:
        """`quality/brightness_error`; keeps the picture of what was drawn."""
        drawn = evaluated.draw_spread("train", self.num_images).images
        real = [evaluated.decode(latents) for latents in evaluated.real("train", self.num_images).latents()]
        evaluated.keep("first", drawn[0])
        return {"quality/brightness_error": abs(_brightness(drawn) - _brightness(real))}


def _brightness(pictures: Sequence[Image.Image]) -> float:
    means = [ImageStat.Stat(picture.convert("L")).mean[0] / 255 for picture in pictures]
    return sum(means) / len(means)
