"""A model and its optimizer as a run with these overrides has them, without the run."""

import torch
from torch import nn
from torch.optim import Optimizer

from aaa.assembly.parts import build_model, build_optimizer
from tests.helpers.composed import compose


def compose_model(*overrides: str) -> tuple[nn.Module, Optimizer]:
    """The model, with the same initial values each time, for latents of 12 channels unless told otherwise."""
    config = compose("encoder.latent_channels=12", *overrides)
    torch.manual_seed(0)
    model = build_model(config)
    return model, build_optimizer(config, model)


def random_step(model: nn.Module, optimizer: Optimizer, seed: int) -> None:
    """A step along made-up gradients."""
    torch.manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
