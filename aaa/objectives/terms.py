"""Terms that add to the velocity's error: what one of them sees, and what it has to offer."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor, nn

from aaa.data.batch import Batch
from aaa.diffusion.schedulers import NoiseLevels, add_noise
from aaa.errors import UserError, require_call
from aaa.models.forward import Asked, with_hidden


class Draws(NamedTuple):
    """All that is random in the loss of a batch.

    Attributes:
        dropped: whose prompts are replaced by the empty one, `B` bool.
        levels: noise levels, with what the model is told of them and how much they count.
        noise: standard normal, `B C H W`.
    """

    dropped: Tensor
    levels: NoiseLevels
    noise: Tensor


class ForwardPass(NamedTuple):
    """A batch and what the model made of it.

    Attributes:
        batch: clean.
        draws: what it was noised by.
        weight: of the velocity's error at each sample's noise level, `B` float32.
        velocity: predicted, `B C H W`.
        hidden: the latents' tokens after the blocks that terms look at, by number, `B (H W) D` each; with routing those
            that skipped a block are as they were before.
        velocity_of: the velocity that an output of the kind that the model gives stands for, both `B C H W`.
        internal: what the model's internal head predicts, `B C H W`, where a term wants it.
        computed: of blocks that some tokens skipped, which did not, `B (H W)` bool: `mean_over` counts these alone.
    """

    batch: Batch
    draws: Draws
    weight: Tensor
    velocity: Tensor
    hidden: Mapping[int, Tensor]
    velocity_of: Callable[[Tensor], Tensor]
    internal: Tensor | None = None
    computed: Mapping[int, Tensor] = MappingProxyType({})

    @property
    def predicted_latents(self) -> Tensor:
        """The clean latents that the velocity leads to from the noised ones, `B C H W` float32.

        Whatever the model predicts, these are what is right where the velocity is. Of a model of clean latents they are
        its output, but below the `least_sigma` of `CleanPrediction`, where that is asked for something else.
        """
        sigma = self.draws.levels.sigma
        noised = add_noise(self.batch.latents, self.draws.noise, sigma)
        return noised.float() - sigma.view(-1, 1, 1, 1) * self.velocity.float()


class Extra(NamedTuple):
    """A tensor of each picture that a term needs, on the grid of its latents; computed once and kept in the cache.

    Attributes:
        channels: of it.
        compute: from images in -1..1, `B 3 H W`, and the pixels of a latent's side, `B channels H/side W/side`. The
            code of the module that defines it tells one version from another.
        files: what they hold does so too.
        release: frees what was loaded to compute, once all is computed.
    """

    channels: int
    compute: Callable[[Tensor, int], Tensor]
    files: Collection[Path] = ()
    release: Callable[[], None] = lambda: None


class Term(ABC):
    """A term of the loss; named by `_target_` under `objective.terms`, where its name is that of its
    log line, `train/loss_NAME`.

    Args:
        weight: in the loss; at 0 the term is off, and nothing of it is computed.
        until_step: the step, from 0, at which it ends; None: never.

    Attributes:
        after_blocks: numbers of blocks, from 1, whose hidden states it looks at.
        wants_internal: whether it looks at what the model's internal head predicts.
        module: what it trains of its own, which goes into checkpoints and never into an exported model.
        extras: what it needs of the cache beside latents, by name.
        recordable: whether it is computed on the device alone and the same way at each step, as a CUDA graph would.
    """

    after_blocks: Collection[int] = ()
    wants_internal: bool = False
    module: nn.Module | None = None
    extras: Mapping[str, Extra] = MappingProxyType({})
    recordable: bool = False

    def __init__(self, weight: float, until_step: int | None = None) -> None:
        self.weight, self.until_step = weight, until_step

    def is_on(self, step: int) -> bool:
        """Whether it counts at this step, from 0."""
        return self.until_step is None or step < self.until_step

    def flops(self, height: int, width: int) -> int:  # noqa: ARG002
        """Floating-point operations of its module's forward pass for one picture of `height * width` latents."""
        return 0

    @abstractmethod
    def __call__(self, done: ForwardPass) -> Tensor:
        """The term of each sample before its weight, `B` float32."""


def require_term(key: str, term: object) -> None:
    """Refuse what cannot be a term of the loss.

    Args:
        key: of the config, that names it.
        term: is made.

    Raises:
        UserError: if it is no `Term`, or has not been told its weight and its end.
    """
    name = type(term).__name__
    if not isinstance(term, Term):
        raise UserError(f"{key}: {name} is no subclass of aaa.objectives.terms.Term (docs/extending.md).")
    if missing := [asked for asked in ("weight", "until_step") if not hasattr(term, asked)]:
        raise UserError(
            f"{key}: {name} has no {' and no '.join(missing)}: its __init__ has to call "
            "super().__init__(weight, until_step) (docs/extending.md)."
        )
    require_call(type(term).__call__, ("self", "done"), key)


def mean_over(values: Tensor, computed: Tensor | None) -> Tensor:
    """The mean of each sample, `B`, of values `B H W` or `B C H W`.

    Args:
        values: of all places.
        computed: which of them count, `B (H W)` bool, one at least of each sample; None: all. PRX's alignment is of the
            tokens that were not routed as well.
    """
    if computed is None:
        return values.mean(dim=tuple(range(1, values.ndim)))
    counting = computed.view(len(values), *[1] * (values.ndim - 3), *values.shape[-2:]).expand_as(values).flatten(1)
    return (values.flatten(1) * counting).sum(dim=1) / counting.sum(dim=1)


class Watched:
    """A model as a prediction asks it, of which what terms look at is kept.

    Args:
        model: as `with_hidden` takes it.
        terms: that are on; where they look at nothing, it is the model and nothing more.

    Attributes:
        hidden: of the last time that it was asked, by block.
        internal: what the internal head predicted then, or None.
        computed: which tokens the blocks computed then, see `ForwardPass`.
    """

    def __init__(self, model: Asked, terms: Collection[Term]) -> None:
        self.model = model
        self.after_blocks = sorted({block for term in terms for block in term.after_blocks})
        self.with_internal = any(term.wants_internal for term in terms)
        self.hidden: Mapping[int, Tensor] = {}
        self.internal: Tensor | None = None
        self.computed: Mapping[int, Tensor] = {}

    def __call__(self, noised: Tensor, prompt_embeds: Tensor, timestep: Tensor) -> Tensor:
        """What the model predicts."""
        output = with_hidden(
            self.model, noised, prompt_embeds, timestep, self.after_blocks, with_internal=self.with_internal
        )
        self.hidden, self.internal, self.computed = output.hidden, output.internal, output.computed
        return output.prediction
