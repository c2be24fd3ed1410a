"""Steps that are taken to be timed."""

from pathlib import Path

import torch
from torch import nn
from torch.optim import Optimizer

from aaa.assembly.parts import build_model, build_objective, build_optimizer
from aaa.data.shapes import ShapesSource
from aaa.run.session import Session
from aaa.run.trial import Trial
from tests.data.test_cache import build
from tests.helpers.composed import compose


def test_timed_steps_are_whole_ones_and_leave_the_weights_as_they_were(tmp_path: Path) -> None:
    cache = build(tmp_path / "cache", ShapesSource(num_records=6, num_validation=0, resolution=16))
    channels, tokens = cache.shapes[0][0], cache.prompt_shape
    small = ["model.dim=32", "model.heads=2", "model.depth=1", "objective.terms.align.weight=0"]
    config = compose(*small, f"encoder.prompt_dim={tokens[1]}")
    config.model.in_channels = channels
    model = build_model(config)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    made: list[Optimizer] = []

    def make(trained: nn.Module, of_objective: nn.Module) -> Optimizer:
        made.append(build_optimizer(config, trained, of_objective))
        return made[0]

    with Session("cpu", "float32", 2, tuned=False) as session:
        trial = Trial(model, build_objective(config, cache.empty_prompt_embeds.float()), cache, session)
        with trial.steps(make, batch_size=4, micro_batches=2) as step:
            step()
            step()
            assert any(not torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())
