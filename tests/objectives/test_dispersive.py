"""The dispersive loss against its formula written out, and that it says something at any width."""

import math

import pytest
import torch

from aaa.objectives.dispersive import Dispersive, dispersion
from tests.helpers.forward_pass import forward_pass


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_it_is_the_log_of_the_mean_over_all_pairs(temperature: float) -> None:
    hidden = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    pairs = []
    for i in range(4):
        for j in range(4):
            squared = sum((hidden[i, n, d] - hidden[j, n, d]).item() ** 2 for n in range(6) for d in range(5))
            pairs.append(math.exp(-squared / (6 * 5) / temperature))
    term = Dispersive(0.5, after_block=2, temperature=temperature)
    found = term(forward_pass(4, hidden={2: hidden, 1: torch.zeros(4, 6, 5)}))
    assert found.tolist() == pytest.approx([math.log(sum(pairs) / 16)] * 4, rel=1e-5)
    assert term.after_blocks == (2,)


def test_its_gradient_does_not_vanish_at_width_1000() -> None:
    z = torch.randn(8, 64 * 1000, generator=torch.Generator().manual_seed(0)).requires_grad_()
    dispersion(z, 0.5).backward()
    assert z.grad is not None
    pushed = z.grad.norm().item()
    assert pushed > 1e-4
    # Without the division every pair of different samples is lost in float32, and the gradient with it.
    undivided = z.detach().clone().requires_grad_()
    dispersion(undivided * math.sqrt(undivided.shape[1]), 0.5).backward()
    assert undivided.grad is not None
    assert undivided.grad.norm().item() < 1e-20


def test_following_it_moves_samples_apart() -> None:
    z = torch.randn(6, 32, generator=torch.Generator().manual_seed(1)).requires_grad_()
    before = torch.pdist(z.detach()).mean()
    (gradient,) = torch.autograd.grad(dispersion(z, 0.5), z)
    assert torch.pdist((z - 10 * gradient).detach()).mean() > before


def test_a_batch_of_one_has_no_gradient() -> None:
    z = torch.randn(1, 32).requires_grad_()
    value = dispersion(z, 0.5)
    assert value.item() == 0
    (gradient,) = torch.autograd.grad(value, z)
    assert gradient.abs().max() == 0
