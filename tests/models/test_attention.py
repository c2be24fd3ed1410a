from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from aaa.models import attention
from aaa.models.attention import attend


@pytest.mark.parametrize(("tokens", "cached_scores"), [(5, 2**22), (70, 1), (70, 3 * 70**2), (1500, 2**22)])
def test_every_routine_agrees_in_bf16_with_gradients(
    monkeypatch: pytest.MonkeyPatch, tokens: int, cached_scores: int
) -> None:
    monkeypatch.setattr(attention, "CACHED_SCORES", cached_scores)
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 2, tokens, 32, dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
    out = attend(q, k, v)
    out.float().square().sum().backward()
    exact = [tensor.detach().float().requires_grad_() for tensor in (q, k, v)]
    expected = attend(*exact)
    expected.square().sum().backward()
    torch.testing.assert_close(out.float(), expected, atol=2e-2, rtol=2e-2)
    for found, wanted in zip((q, k, v), exact, strict=True):
        assert found.grad is not None
        assert wanted.grad is not None
        torch.testing.assert_close(found.grad.float(), wanted.grad, atol=5e-2, rtol=5e-2)


@pytest.mark.parametrize("cached_scores", [1, 2 * 7**2, 10**6])
def test_the_backward_in_blocks_is_exact(monkeypatch: pytest.MonkeyPatch, cached_scores: int) -> None:
    monkeypatch.setattr(attention, "CACHED_SCORES", cached_scores)
    draws = torch.Generator().manual_seed(0)
    arguments = [
        torch.randn(2, 7, 3, 4, generator=draws, dtype=torch.float64).transpose(1, 2).requires_grad_() for _ in range(3)
    ]
    q, k, v = arguments
    torch.testing.assert_close(attention._BlockwiseBackward.apply(q, k, v), F.scaled_dot_product_attention(q, k, v))
    assert torch.autograd.gradcheck(attention._BlockwiseBackward.apply, arguments)


@pytest.mark.parametrize("tokens", [7, 32, 78, 200, 230])
def test_softmax_is_torchs_to_a_rounding(tokens: int) -> None:
    draws = torch.Generator().manual_seed(0)
    scores = 4 * torch.randn(3, 2, tokens, tokens, generator=draws).bfloat16()
    found, expected = attention.softmax(scores), scores.softmax(dim=-1)
    torch.testing.assert_close(found, expected, rtol=2**-7, atol=1e-6)
    assert (found != expected).float().mean() < 1e-3


@pytest.mark.parametrize("safe", [40.0, 1e-3])
def test_softmax_taken_apart_is_exact(monkeypatch: pytest.MonkeyPatch, safe: float) -> None:
    """Also where scores are too large for it: there weights are made as ever."""
    monkeypatch.setattr(attention, "SAFE_SCORE", safe)
    draws = torch.Generator().manual_seed(0)
    arguments = [
        torch.randn(2, 7, 3, 4, generator=draws, dtype=torch.float64).transpose(1, 2).requires_grad_() for _ in range(3)
    ]
    q, k, v = arguments
    torch.testing.assert_close(attention._PlainProducts.apply(q, k, v), F.scaled_dot_product_attention(q, k, v))
    assert torch.autograd.gradcheck(attention._PlainProducts.apply, arguments)


@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0, 10.0, 100.0, 1e4])
def test_softmax_taken_apart_is_as_near_in_bf16_whatever_the_scores(scale: float) -> None:
    """Beside the same products with torch's softmax, both judged by float64; scores reach 1e5."""
    draws = torch.Generator().manual_seed(0)
    grown = (scale, 1, 1)
    given = [size * torch.randn(2, 4, 78, 16, generator=draws) for size in grown]
    given = [x.bfloat16().requires_grad_() for x in given]
    towards = torch.randn(2, 4, 78, 16, generator=draws).bfloat16()
    exact = [x.detach().double().requires_grad_() for x in given]

    def plain(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return ((q * 16**-0.5) @ k.mT).softmax(dim=-1) @ v

    def outcome(routine: Callable[..., Tensor], arguments: list[Tensor]) -> list[Tensor]:
        out = routine(*arguments)
        grads = torch.autograd.grad(out, arguments, towards.to(out.dtype))
        return [x.detach().double() for x in (out, *grads)]

    right = outcome(F.scaled_dot_product_attention, exact)
    for ours, theirs, expected in zip(outcome(attend, given), outcome(plain, given), right, strict=True):
        assert torch.isfinite(ours).all()
        assert (ours - expected).norm() < 1.25 * (theirs - expected).norm() + 1e-3 * expected.norm()
