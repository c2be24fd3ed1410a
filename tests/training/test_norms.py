"""Norms of weights and gradients, by part of the model."""

import math
from itertools import count

import pytest
import torch
from torch import nn

from aaa.training.norms import as_numbers, norms_by_part


def test_norms_are_of_each_block_and_of_whatever_else_there_is() -> None:
    model = nn.ModuleDict({"blocks": nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)]), "out": nn.Linear(2, 1)})
    for number, parameter in zip(count(1), model.parameters(), strict=False):
        nn.init.constant_(parameter, number)
        parameter.grad = None if number > 4 else torch.full_like(parameter, 10 * number)
    expected = {
        "blocks.0": math.hypot(*[1] * 4, *[2] * 2),
        "blocks.1": math.hypot(*[3] * 4, *[4] * 2),
        "out": math.hypot(5, 5, 6),
    }
    norms = {f"weight_norm/{part}": norm for part, norm in expected.items()}
    norms |= {f"grad_norm/{part}": 10 * norm for part, norm in expected.items() if part != "out"}
    assert as_numbers(norms_by_part(model)) == pytest.approx(norms)
