"""RMSNorm, forward and backward."""

import pytest
import torch
from torch import nn

from aaa.models.rms_norm import RMSNorm


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 3, 8), (5, 128), (1, 1, 1)])
def test_it_is_what_torch_makes_of_it(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = (100 * torch.randn(shape, dtype=dtype)).requires_grad_()
    weights = torch.randn(shape, dtype=dtype)
    theirs, ours = nn.RMSNorm(shape[-1], elementwise_affine=False)(x), RMSNorm(shape[-1])(x)
    torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad((normalised * weights).sum(), x)[0] for normalised in (ours, theirs)]
    torch.testing.assert_close(*gradients)


def test_its_gradient_is_that_of_small_differences_also_of_tokens_that_are_not_contiguous_or_nearly_nothing() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 8, 3, dtype=torch.float64).mT.requires_grad_()
    assert torch.autograd.gradcheck(RMSNorm(8), (x,))
    nothing = torch.zeros(1, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(RMSNorm(4)(nothing).sum(), nothing)
    assert torch.isfinite(gradient).all()
