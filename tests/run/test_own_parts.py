"""Parts of one's own that are none: what is said of them before a run takes its first step."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from aaa.assembly.data import open_data
from aaa.assembly.parts import build_model, build_objective, build_optimizer, build_sampling
from aaa.config.checks import check_config
from aaa.data.batch import Batch
from aaa.diffusion.schedulers import NoiseLevels
from aaa.encoders.pixel import PixelVAE
from aaa.encoders.words import WordEmbedding
from aaa.errors import UserError
from aaa.models.block import BlockContext, DiTBlock
from aaa.objectives.terms import ForwardPass, Term
from tests.helpers.composed import compose


def of_levels(sigma: Tensor) -> NoiseLevels:
    return NoiseLevels(sigma, 1000 * sigma, torch.ones_like(sigma))


class Fine:
    """What a scheduler has to have, and no more; those below give something else."""

    def draw(self, batch_size: int, generator: torch.Generator) -> Any:
        return self.drawn(torch.rand(batch_size, generator=generator, device=generator.device))

    def sampling_sigmas(self, steps: int, tokens: int, denoising_strength: float = 1.0) -> Any:
        del tokens
        return self.visited(torch.linspace(denoising_strength, 0, steps + 1))

    def drawn(self, sigma: Tensor) -> Any:
        return of_levels(sigma)

    def visited(self, sigmas: Tensor) -> Any:
        return sigmas


class Bare:
    draw = Fine.draw


class Timesteps(Fine):
    def drawn(self, sigma: Tensor) -> Any:
        return of_levels(1000 * sigma / sigma.max())


class Unknown(Fine):
    def drawn(self, sigma: Tensor) -> Any:
        return of_levels(torch.nan * sigma)


class Column(Fine):
    def drawn(self, sigma: Tensor) -> Any:
        return of_levels(sigma[:, None])


class OneWeight(Fine):
    def drawn(self, sigma: Tensor) -> Any:
        return of_levels(sigma)._replace(weight=1.0)  # type: ignore[arg-type]


class Rising(Fine):
    def visited(self, sigmas: Tensor) -> Any:
        return sigmas.flip(0)


class TurningBack(Fine):
    def visited(self, sigmas: Tensor) -> Any:
        return torch.cat([sigmas[:1], sigmas[1:-1].flip(0), sigmas[-1:]])


class WithoutTheLast(Fine):
    def visited(self, sigmas: Tensor) -> Any:
        return sigmas[:-1]


class EndingEarly(Fine):
    def visited(self, sigmas: Tensor) -> Any:
        return 0.1 + 0.9 * sigmas


class FromAThousand(Fine):
    def visited(self, sigmas: Tensor) -> Any:
        return 1000 * sigmas


class Numbers(Fine):
    def visited(self, sigmas: Tensor) -> Any:
        return sigmas.tolist()


class NoTerm:
    def __init__(self, weight: float) -> None:
        self.weight = weight


class Forgetful(Term):
    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self, done: ForwardPass) -> Tensor:
        return done.weight


class NoOptimizer:
    def __init__(self, named_parameters: object, learning_rate: float) -> None:
        pass


def forgotten(named_parameters: list[tuple[str, nn.Parameter]], learning_rate: float) -> None:
    torch.optim.SGD([parameter for _, parameter in named_parameters], lr=learning_rate)


def with_part(key: str, part: Callable[..., object], **arguments: float) -> DictConfig:
    config = compose("sampling.steps=10")
    OmegaConf.update(config, key, {"_target_": f"{__name__}.{part.__name__}", **arguments}, merge=False, force_add=True)
    return config


def objective_of(config: DictConfig) -> object:
    return build_objective(config, torch.zeros(3, 8))


def test_a_scheduler_that_has_what_it_has_to_have_is_taken() -> None:
    config = with_part("scheduler", Fine)
    objective_of(config)
    assert build_sampling(config).sigmas(16) == torch.linspace(1, 0, 11).tolist()


@pytest.mark.parametrize("build", [objective_of, build_sampling])
def test_a_scheduler_without_what_is_asked_of_it_is_refused(build: Callable[[DictConfig], object]) -> None:
    with pytest.raises(UserError, match="scheduler: Bare has no sampling_sigmas, which training and sampling ask"):
        build(with_part("scheduler", Bare))


@pytest.mark.parametrize(
    ("scheduler", "said"),
    [
        (Timesteps, "Timesteps.draw gives sigma=1000, and has to give numbers from 0"),
        (Unknown, "Unknown.draw gives sigma=nan, and has to give numbers from 0"),
        (Column, "Column.draw gives sigma of shape (256, 1), and has to give NoiseLevels(sigma, timestep, weight)"),
        (OneWeight, "OneWeight.draw gives a float as weight, and has to give NoiseLevels(sigma, timestep, weight)"),
    ],
)
def test_levels_that_cannot_be_trained_on_are_refused(scheduler: type, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"scheduler: {said}")):
        objective_of(with_part("scheduler", scheduler))


@pytest.mark.parametrize(
    ("scheduler", "said"),
    [
        (Rising, "Rising.sampling_sigmas gives noise levels from 0 to 1, and has to give a tensor of 11 for 10 steps"),
        (TurningBack, "TurningBack.sampling_sigmas gives noise levels from 1 to 0 that do not fall, and has to"),
        (WithoutTheLast, "WithoutTheLast.sampling_sigmas gives noise levels of shape (10,), and has to give a tensor"),
        (EndingEarly, "EndingEarly.sampling_sigmas gives noise levels from 1 to 0.1, and has to give a tensor of 11"),
        (FromAThousand, "FromAThousand.sampling_sigmas gives noise levels from 1000 to 0, and has to give a tensor"),
        (Numbers, "Numbers.sampling_sigmas gives a list, and has to give a tensor of 11"),
    ],
)
def test_levels_that_lead_to_no_clean_picture_are_refused(scheduler: type, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"scheduler: {said}")):
        build_sampling(with_part("scheduler", scheduler))


@pytest.mark.parametrize(
    ("term", "said"),
    [
        (NoTerm, "NoTerm is no subclass of aaa.objectives.terms.Term"),
        (Forgetful, "Forgetful has no until_step: its __init__ has to call super().__init__(weight, until_step)"),
    ],
)
def test_a_term_that_is_none_is_refused(term: type, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"objective.terms.own: {said}")):
        objective_of(with_part("objective.terms.own", term, weight=0.1))


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [(NoOptimizer, "NoOptimizer is no torch.optim.Optimizer"), (forgotten, "forgotten gives None")],
)
def test_an_optimizer_that_is_none_is_refused(optimizer: Callable[..., object], said: str) -> None:
    config = with_part("optimizer", optimizer, learning_rate=0.1)
    with pytest.raises(UserError, match=re.escape(f"optimizer: {said}, and has to be a subclass of torch.optim")):
        build_optimizer(config, nn.Linear(2, 2))


class Wide(DiTBlock):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__(dim, heads, 3.0)


class Alone(DiTBlock):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return x


class Silent(nn.Module):
    def __init__(self, *_: float) -> None:
        super().__init__()

    def init_weights(self, depth: int) -> None:
        pass

    def flops(self, tokens: int) -> int:
        return tokens


class Uncounted(DiTBlock):
    def flops(self) -> int:  # type: ignore[override]
        return 0


def no_module(*numbers: float) -> str:
    return str(numbers)


class OfLatents(DiTBlock):
    def forward(self, x: Tensor, context: BlockContext) -> Tensor:
        return x[:, : context.height * context.width]


class WithMore(DiTBlock):
    def forward(self, x: Tensor, context: BlockContext) -> Any:
        return super().forward(x, context), context


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (Wide, "Wide takes (dim, heads), and is given dim, heads, mlp_ratio: too many positional arguments"),
        (Alone, "Alone.forward takes (x), and is given x, context: too many positional arguments"),
        (Silent, "Silent has no forward, which a model asks of its blocks"),
        (Uncounted, "Uncounted.flops takes (), and is given tokens: too many positional arguments"),
        (no_module, "no_module makes a str, and has to make an nn.Module"),
    ],
)
def test_a_block_that_is_none_is_refused(block: Callable[..., object], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"model.block: {said}")):
        build_model(with_part("model.block", block))


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (OfLatents, "OfLatents.forward gives a tensor of shape (2, 6, 128), and has to give tokens as it gets them"),
        (WithMore, "WithMore.forward gives a tuple, and has to give tokens as it gets them, a tensor of shape (2, 9,"),
    ],
)
def test_what_a_block_makes_of_tokens_is_tokens(block: type, said: str) -> None:
    model = build_model(with_part("model.block", block))
    with pytest.raises(UserError, match=re.escape(f"model.block: {said}")):
        model(torch.randn(2, 192, 2, 3), torch.randn(2, 3, 128), torch.ones(2))


class Narrow(nn.Module):
    def __init__(self, dim: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(dim, dim) for _ in range(depth))


class Formless(nn.Module):
    def __init__(self, **_: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))


class Untold(Formless):
    def forward(self, latents: Tensor) -> Tensor:
        return latents


class Scaled(Formless):
    def forward(self, latents: Tensor, *_: Tensor) -> Any:
        return self.scale * latents


class OneChannel(Formless):
    def forward(self, latents: Tensor, *_: Tensor) -> Any:
        return self.scale * latents[:, :1]


class Listing(Formless):
    hidden_depth = 2

    def forward(self, *given: Tensor, hidden_after: Any = ()) -> Any:
        return [given[0], hidden_after]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Narrow, "Narrow takes (dim, depth), and is given dim, depth, heads, mlp_ratio, position_grid, in_channels,"),
        (Formless, "Formless has no forward, which training asks of a model"),
        (Untold, "Untold.forward takes (latents), and is given latents, prompt_embeds, timestep: too many"),
    ],
)
def test_a_model_that_is_none_is_refused(model: type, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"model.architecture: {said}")):
        build_model(with_part("model.architecture", model))


def loss_of(model: nn.Module, objective: Any) -> Any:
    batch = Batch.of_strangers(torch.randn(2, 12, 4, 4), torch.randn(2, 3, 8))
    return objective(model, batch, torch.Generator().manual_seed(0), 0)


def test_what_a_model_predicts_has_the_latents_shape() -> None:
    objective = objective_of(compose("objective=velocity"))
    said = "what OneChannel (model) predicts is a tensor of shape (2, 1, 4, 4), and has to be one of the latents' shape"
    with pytest.raises(UserError, match=re.escape(said)):
        loss_of(OneChannel(), objective)
    dispersed = objective_of(compose("objective=velocity", "objective.terms.dispersive.weight=1"))
    said = "asked for hidden_after, Listing.forward gives a list, and has to give a ModelOutput"
    with pytest.raises(UserError, match=re.escape(said)):
        loss_of(Listing(), dispersed)


class Number(Term):
    def __call__(self, done: ForwardPass) -> Any:
        return float(done.weight.mean())


class Asking(Term):
    def __call__(self, done: ForwardPass, more: int) -> Tensor:  # type: ignore[override]
        return done.weight * more


def test_a_term_that_gives_no_tensor_or_wants_more_is_refused() -> None:
    config = with_part("objective.terms.own", Number, weight=0.1)
    config.objective.terms.align.weight = 0
    objective = objective_of(config)
    with pytest.raises(UserError, match=r"objective.terms.own: Number gives a float, and has to give a number for"):
        loss_of(Scaled(), objective)
    with pytest.raises(UserError, match=r"objective.terms.own: Asking.__call__ takes .self, done, more., and is given"):
        objective_of(with_part("objective.terms.own", Asking, weight=0.1))


class Pairs:
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        return index, "a prompt"


class Stream:
    def __iter__(self) -> Any:
        return iter(())


class Half(PixelVAE):
    def encode(self, images: Tensor) -> Tensor:
        return super().encode(images)[..., ::2]


class Whole(PixelVAE):
    def encode(self, images: Tensor) -> Tensor:
        return super().encode(images).to(torch.uint8)


class Closed(PixelVAE):
    def decode(self, latents: Tensor) -> Any:
        return [super().decode(latents)]


class Sized(PixelVAE):
    def encode(self, images: Tensor, size: int) -> Tensor:  # type: ignore[override]
        return super().encode(images)[..., :size]


class NoVAE:
    downscale_factor = 4

    def __init__(self, downscale_factor: int) -> None:
        pass


class Mute(NoVAE):
    latent_channels = 48


class Numbered(WordEmbedding):
    def encode(self, prompts: list[str]) -> tuple[Tensor, list[int]]:
        prompt_embeds, lengths = super().encode(prompts)
        return prompt_embeds.long(), lengths


class Wordless:
    def __init__(self, max_length: int, **_: int) -> None:
        self.max_length = max_length


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (Pairs, "Pairs.__getitem__ gives a tuple, and has to give a Record"),
        (Stream, "Stream has no __len__ and no __getitem__, which encoding asks of a data set"),
    ],
)
def test_a_data_set_that_is_none_is_refused(tmp_path: Any, source: type, said: str) -> None:
    config = with_part("data.source", source)
    config.data.cache_dir = str(tmp_path)
    with pytest.raises(UserError, match=re.escape(f"data.source: {said}")):
        open_data(config)


@pytest.mark.parametrize(
    ("key", "encoder", "said"),
    [
        ("vae", Half, "Half.encode gives a tensor of shape (2, 192, 4, 2) of float32 for one of shape (2, 3, 32, 32)"),
        ("vae", Whole, "Whole.encode gives a tensor of shape (2, 192, 4, 4) of uint8 for one of shape (2, 3, 32, 32)"),
        ("vae", Closed, "Closed.decode gives a list for one of shape (2, 192, 4, 4), and has to give one of"),
        ("vae", Sized, "Sized.encode takes (images, size), and is given images: missing a required argument: 'size'"),
        ("vae", NoVAE, "NoVAE has no latent_channels, a whole number"),
        ("vae", Mute, "Mute has no encode and no decode, which encoding asks of an encoder"),
        ("text_encoder", Numbered, "Numbered.encode gives prompt_embeds of int64, and has to give them of float32"),
        ("text_encoder", Wordless, "Wordless has no prompt_dim, a whole number"),
    ],
)
def test_an_encoder_that_is_none_is_refused_before_anything_is_encoded(
    tmp_path: Any, key: str, encoder: type, said: str
) -> None:
    arguments = {"vae": {"downscale_factor": 8}, "text_encoder": {"prompt_dim": 128, "max_length": 16}}
    config = with_part(f"encoder.{key}", encoder, **arguments[key])
    config.data.cache_dir = str(tmp_path)
    check_config(config)
    with pytest.raises(UserError, match=re.escape(f"encoder.{key}: {said}")):
        open_data(config)
    assert not list(tmp_path.glob("shapes-*/index.json"))
