import pytest
import torch
import torch.nn.functional as F

from aaa.models import attention
from aaa.models.attention import attend


@pytest.mark.parametrize(
    ("queries", "tokens", "cached_scores"),
    [
        (5, 5, 2**22),
        (30, 30, 2**22),
        (16, 30, 2**22),
        (70, 70, 1),
        (40, 70, 1),
        (70, 70, 3 * 70**2),
        (1500, 1500, 2**22),
    ],
)
def test_every_routine_agrees_in_bf16_with_gradients(
    monkeypatch: pytest.MonkeyPatch, queries: int, tokens: int, cached_scores: int
) -> None:
    monkeypatch.setattr(attention, "CACHED_SCORES", cached_scores)
    torch.manual_seed(0)
    q, k, v = (
        torch.randn(2, 2, count, 32, dtype=torch.bfloat16, requires_grad=True) for count in (queries, tokens, tokens)
    )
    out = attend(q, k, v)
    out.float().square().sum().backward()
    exact = exact_q, exact_k, exact_v = [tensor.detach().float().requires_grad_() for tensor in (q, k, v)]
    expected = F.scaled_dot_product_attention(exact_q, exact_k, exact_v)
    expected.square().sum().backward()
    torch.testing.assert_close(out.float(), expected, atol=2e-2, rtol=2e-2)
    for found, wanted in zip((q, k, v), exact, strict=True):
        assert found.grad is not None
        assert wanted.grad is not None
        torch.testing.assert_close(found.grad.float(), wanted.grad, atol=5e-2, rtol=5e-2)


@pytest.mark.parametrize("cached_scores", [1, 2**22])
@pytest.mark.parametrize("tokens", [7, 30, 70])
@pytest.mark.parametrize("rows_differ", [False, True])
def test_what_is_masked_counts_for_nothing(
    monkeypatch: pytest.MonkeyPatch, rows_differ: bool, tokens: int, cached_scores: int
) -> None:
    monkeypatch.setattr(attention, "CACHED_SCORES", cached_scores)
    draws = torch.Generator().manual_seed(0)
    attended = torch.rand(3, 1, tokens if rows_differ else 1, tokens, generator=draws) < 0.6
    attended[..., 0] = True
    found = [torch.randn(3, 2, tokens, 16, generator=draws).bfloat16().requires_grad_() for _ in range(3)]
    exact = [tensor.detach().float().requires_grad_() for tensor in found]
    (q, k, v), (exact_q, exact_k, exact_v) = found, exact
    out, expected = attend(q, k, v, attended), F.scaled_dot_product_attention(exact_q, exact_k, exact_v, attended)
    torch.testing.assert_close(out.float(), expected, atol=2e-2, rtol=2e-2)
    gradients = (torch.autograd.grad(made.float().square().sum(), of) for made, of in ((out, found), (expected, exact)))
    for ours, right in zip(*gradients, strict=True):
        torch.testing.assert_close(ours.float(), right, atol=5e-2, rtol=5e-2)
    drawn = attend(q.detach(), k.detach(), v.detach(), attended)
    alike = attended[:1].expand_as(attended)
    assert torch.equal(
        attend(q.detach(), k.detach(), v.detach(), attended[:1]), attend(q.detach(), k.detach(), v.detach(), alike)
    )
    torch.testing.assert_close(drawn.float(), expected, atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("tokens", [5, 78, 230])
@pytest.mark.parametrize("cached_scores", [1, 2**22])
def test_without_gradients_a_sample_is_rounded_alike_in_any_batch(
    monkeypatch: pytest.MonkeyPatch, tokens: int, cached_scores: int
) -> None:
    draws = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(9, 2, tokens, 16, generator=draws).bfloat16() for _ in range(3))
    alone = torch.cat([attend(*part) for part in zip(q.split(1), k.split(1), v.split(1), strict=True)])
    monkeypatch.setattr(attention, "CACHED_SCORES", cached_scores)
    assert torch.equal(attend(q, k, v), alone)
    exact = F.scaled_dot_product_attention(q.float(), k.float(), v.float())
    torch.testing.assert_close(alone.float(), exact, atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("cached_scores", [1, 2 * 7**2, 10**6])
@pytest.mark.parametrize(("queries", "tokens"), [(7, 7), (3, 7), (30, 30), (16, 30)])
@pytest.mark.parametrize("routine", [attention._BlockwiseBackward, attention._KeepingWeights])
def test_both_routines_with_gradients_are_exact(
    monkeypatch: pytest.MonkeyPatch,
    routine: type[torch.autograd.Function],
    queries: int,
    tokens: int,
    cached_scores: int,
) -> None:
    monkeypatch.setattr(attention, "CACHED_SCORES", cached_scores)
    draws = torch.Generator().manual_seed(0)
    arguments = [
        torch.randn(2, count, 3, 4, generator=draws, dtype=torch.float64).transpose(1, 2).requires_grad_()
        for count in (queries, tokens, tokens)
    ]
    q, k, v = arguments
    mask = (None,) if routine is attention._KeepingWeights else ()
    torch.testing.assert_close(routine.apply(q, k, v, *mask), F.scaled_dot_product_attention(q, k, v))
    assert torch.autograd.gradcheck(routine.apply, (*arguments, *mask), fast_mode=tokens > 7)


@pytest.mark.parametrize(
    ("length", "filled"), [(1, 1), (16, 16), (28, 28), (29, 32), (32, 32), (33, 33), (57, 64), (78, 78), (224, 224)]
)
def test_rows_are_filled_up_where_they_lack_little(length: int, filled: int) -> None:
    assert attention.filled_length(length) == filled


@pytest.mark.parametrize("tokens", [7, 30, 33, 78, 199, 230])
def test_softmax_and_its_gradient_are_torchs(tokens: int) -> None:
    draws = torch.Generator().manual_seed(0)
    scores, towards = (4 * torch.randn(3, 2, tokens, tokens, generator=draws).bfloat16() for _ in range(2))
    expected = scores.clone().requires_grad_()
    weights, torchs = attention.softmax(scores), expected.softmax(dim=-1)
    torch.testing.assert_close(weights, torchs, rtol=2**-7, atol=1e-6)  # a rounding apart at most
    assert (weights != torchs).float().mean() < 1e-3
    (torchs * towards).sum().backward()
    torch.testing.assert_close(attention.softmax_backward(towards, weights), expected.grad, rtol=0.02, atol=1e-4)


@pytest.mark.parametrize("masked", [False, True])
def test_no_tokens_are_none_afterwards(masked: bool) -> None:
    nothing = torch.randn(3, 2, 0, 16, dtype=torch.bfloat16, requires_grad=True)
    attended = torch.ones(3, 1, 1, 0, dtype=torch.bool) if masked else None
    out = attend(nothing, nothing, nothing, attended)
    out.float().sum().backward()
    assert out.shape == nothing.shape
    drawn = nothing.detach()
    assert attend(drawn, drawn, drawn, attended).shape == nothing.shape
