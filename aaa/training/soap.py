"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner (2409.11321, algorithm 3), from pytorch_optimizer."""

from collections.abc import Iterable, Sequence

from torch import Tensor, nn
from torch.optim import Optimizer

from aaa.errors import UserError


def soap(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    learning_rate: float,
    weight_decay: float,
    betas: Sequence[float],
    precondition_every_steps: int,
    max_precondition_dim: int,
) -> Optimizer:
    """SOAP for everything that has at least two dimensions, Adam for the rest. Its first step only looks.

    Args:
        named_parameters: all of the model's.
        learning_rate: in steps of Adam's size.
        weight_decay: decoupled.
        betas: of both moments; the preconditioner keeps the second.
        precondition_every_steps: how often its eigenbasis is renewed, which is what costs.
        max_precondition_dim: of a dimension; a longer one is left as it is.

    Raises:
        UserError: if pytorch_optimizer is not installed.
    """
    try:
        from pytorch_optimizer import SOAP
    except ModuleNotFoundError as error:
        raise UserError(f'optimizer=soap: {error.name} is not installed: pip install -e ".[optimizers]"') from None

    class ForeseenSOAP(SOAP):
        def state_bytes(self, parameter: Tensor) -> int:
            """Two moments, and of each side that is not too long a preconditioner and its eigenbasis."""
            sides = [side for side in parameter.shape if side <= max_precondition_dim] if parameter.ndim > 1 else []
            return parameter.element_size() * (2 * parameter.numel() + 2 * sum(side**2 for side in sides))

    first, second = betas
    return ForeseenSOAP(
        [parameter for _, parameter in named_parameters],
        lr=learning_rate,
        weight_decay=weight_decay,
        betas=(first, second),
        precondition_frequency=precondition_every_steps,
        max_precondition_dim=max_precondition_dim,
    )
