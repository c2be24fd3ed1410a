"""Tests of the tutorial at its true size in bf16, which take half an hour where the processor has no bf16."""

import pytest
import torch

from aaa.training.precision import multiplies_bf16

needs_bf16 = pytest.mark.skipif(
    not multiplies_bf16(torch.device("cpu")), reason="this processor has no bf16 arithmetic: 0.1B parameters crawl"
)
