from typing import Any

import pytest
import torch

from aaa.data.batch import Batch
from aaa.data.randomness import generator
from aaa.diffusion.prediction import VelocityPrediction
from aaa.diffusion.schedulers import LinearScheduler
from aaa.objectives.align import Align
from aaa.objectives.costs import training_flops
from aaa.objectives.flow_matching import FlowMatching
from tests.helpers.designs import small
from tests.helpers.flops import counted_flops


@pytest.mark.parametrize("projector", ["linear", "conv"])
@pytest.mark.parametrize("target", ["hog", "latents"])
def test_flops_of_projectors_are_those_that_torch_counts(projector: str, target: str) -> None:
    term = Align(0.5, 2, target, projector, "cosine", False, dim=16, latent_channels=4)
    model, empty = small(), torch.zeros(5, 8)
    objective = FlowMatching(LinearScheduler(), empty, 0.0, VelocityPrediction(), terms={"align": term})
    batch = Batch.of_strangers(torch.randn(1, 4, 3, 4), torch.randn(1, 5, 8))
    batch = batch._replace(extras={"hog": torch.rand(1, 36, 3, 4)})
    with counted_flops() as counter:
        objective(model, batch, generator("test"), 0)
    assert training_flops(model, objective, 3, 4, 5, channels=4, text_dim=8) == 3 * counter.get_total_flops()


def test_another_objective_costs_what_its_model_does() -> None:
    plain = FlowMatching(LinearScheduler(), torch.zeros(5, 8), 0.0, VelocityPrediction())
    anothers: Any = lambda *_: {}  # noqa: E731
    costs = [training_flops(small(), o, 3, 4, 5, channels=4, text_dim=8) for o in (plain, anothers)]
    assert costs == [3 * small().forward_flops(3, 4, 5)] * 2
