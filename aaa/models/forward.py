"""What a model may be asked for besides its prediction, and how a loss asks any model, ours or another.

The least that a model takes is `model(latents, prompt_embeds, timestep)`. What it can do beyond that it says by being
one of the protocols below; nothing else is passed to a model that does not.
"""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from aaa.errors import UserError

# A module, or a function that asks one.
Asked = Callable[..., Any]


class ModelOutput(NamedTuple):
    """What a model gives where more than its prediction is wanted.

    Attributes:
        prediction: as where nothing else is, `B C H W`.
        hidden: tokens of the latents after the blocks of these numbers (from 1), `B (H W) D` each. One that skipped the
            block is as it was before those that it skips.
        internal: what its internal head predicts, `B C H W`, or None if that is not wanted.
        computed: of blocks that some tokens skipped, which of the latents' did not, `B (H W)` bool.
    """

    prediction: Tensor
    hidden: dict[int, Tensor]
    internal: Tensor | None = None
    computed: Mapping[int, Tensor] = MappingProxyType({})


@runtime_checkable
class DrawsWhileTraining(Protocol):
    """A model that draws at random while it trains: its forward takes `generator`, so that a step can be replayed.

    Without one it draws nothing, as when sampling and validating.

    Attributes:
        draws_while_training: whether it does, with the numbers it was made from.
    """

    draws_while_training: bool


@runtime_checkable
class ShowsHidden(Protocol):
    """A model whose forward takes `hidden_after`, numbers of blocks from 1, and then returns a `ModelOutput`.

    Attributes:
        hidden_depth: number of blocks.
    """

    hidden_depth: int


@runtime_checkable
class HasInternalHead(Protocol):
    """A model whose forward takes `with_internal=True`, and then returns a `ModelOutput` with `internal`.

    Attributes:
        internal_head_after: number of the block, from 1, after which a second head predicts what the last one does;
            None if there is none with the numbers that it was made from.
    """

    internal_head_after: int | None


class WeakerWay(NamedTuple):
    """A way through a model that leaves some of its blocks out for some tokens, and so is a weaker model.

    Attributes:
        rate: share of a picture's latents that skip blocks, in 0..1, where the model routes them one by one.
        order: random numbers of the latents, `B (H W)` float32: those of the lowest skip.
    """

    rate: float
    order: Tensor


@runtime_checkable
class HasWeakerWay(Protocol):
    """A model whose forward takes `weaker`, a `WeakerWay` to go, and which has been trained to be routed.

    Attributes:
        has_weaker_way: whether it does, with the numbers it was made from.
    """

    has_weaker_way: bool


def draws_while_training(model: Asked) -> bool:
    """Whether a model or a block draws at random while it trains."""
    bare = without_wrapper(model)
    return isinstance(bare, DrawsWhileTraining) and bare.draws_while_training


def in_training(model: Asked, generator: torch.Generator) -> Asked:
    """The model as a loss asks it: what it draws at random comes from this generator's seed."""
    return partial(model, generator=generator) if draws_while_training(model) else model


def with_hidden(
    model: Asked,
    latents: Tensor,
    prompt_embeds: Tensor,
    timestep: Tensor,
    hidden_after: Collection[int],
    *,
    with_internal: bool = False,
) -> ModelOutput:
    """What a model predicts, with the hidden states of the latents' tokens after these blocks.

    Args:
        model: one whose blocks `require_hidden` has approved, as it is or as `in_training` gives it.
        latents, prompt_embeds, timestep: as the model takes them.
        hidden_after: numbers of blocks from 1.
        with_internal: whether what the internal head predicts is wanted, which `require_internal_head` has approved.
            Without it, and without blocks, the model is asked for nothing more than its prediction.
    """
    asked: dict[str, Any] = {"hidden_after": hidden_after} if hidden_after else {}
    if with_internal:
        asked["with_internal"] = True
    if not asked:
        return ModelOutput(model(latents, prompt_embeds, timestep), {})
    output: object = model(latents, prompt_embeds, timestep, **asked)
    if not isinstance(output, ModelOutput):
        bare = without_wrapper(getattr(model, "func", model))  # in_training may have given it a generator
        raise UserError(
            f"model.architecture: asked for {' and '.join(asked)}, {type(bare).__name__}.forward "
            f"gives a {type(output).__name__}, and has to give a ModelOutput (aaa/models/forward.py)."
        )
    return output


def require_hidden(model: Asked, hidden_after: Collection[int], key: str) -> None:
    """Refuse a model that shows no hidden states after these blocks.

    Args:
        model: any.
        hidden_after: numbers of blocks from 1.
        key: of the config, which asks for them.

    Raises:
        UserError: if it shows none, or has no such block.
    """
    bare = without_wrapper(model)
    if not isinstance(bare, ShowsHidden):
        raise UserError(f"{key}: model.architecture names a class that shows no hidden states (ShowsHidden).")
    if strange := [number for number in hidden_after if not 1 <= number <= bare.hidden_depth]:
        raise UserError(f"{key}={strange[0]}: must be at least 1 and at most model.depth={bare.hidden_depth}.")


def require_internal_head(model: Asked, key: str) -> None:
    """Refuse a model without an internal head.

    Args:
        model: any.
        key: of the config, which asks for it.

    Raises:
        UserError: if it has none.
    """
    bare = without_wrapper(model)
    if not isinstance(bare, HasInternalHead) or bare.internal_head_after is None:
        raise UserError(
            f"{key}: the model has no internal head (model.internal_head), which comes with training by "
            "objective.terms.internal.weight=0.25."
        )


def require_weaker_way(model: Asked, key: str) -> None:
    """Refuse a model that cannot be routed.

    Args:
        model: any.
        key: of the config, which asks for it.

    Raises:
        UserError: if it was not trained so.
    """
    bare = without_wrapper(model)
    if not isinstance(bare, HasWeakerWay) or not bare.has_weaker_way:
        raise UserError(f"{key}: the model routes no tokens: it was not trained with routing=tread or routing=sprint.")


@runtime_checkable
class WrapsModel(Protocol):
    """What asks a model in a way of its own, and passes on whatever it is asked for.

    Attributes:
        wrapped: the model.
    """

    wrapped: Asked


def without_wrapper(model: object) -> Any:
    """The model itself, where several processes train it together, or where it is run in a precision of its own."""
    if isinstance(model, WrapsModel):
        return without_wrapper(model.wrapped)
    return model.module if isinstance(model, DistributedDataParallel) else model
