"""The second head is trained as the first one is."""

import pytest
import torch
from torch import nn

from aaa.data.batch import Batch
from aaa.diffusion.prediction import CleanPrediction, Prediction, VelocityPrediction
from aaa.diffusion.schedulers import LogitNormalScheduler
from aaa.models.factory import build_dit
from aaa.objectives.flow_matching import FlowMatching
from aaa.objectives.internal import Internal


@pytest.mark.parametrize("prediction", [VelocityPrediction(), CleanPrediction()])
def test_a_head_like_the_models_after_the_last_block_has_the_models_error(prediction: Prediction) -> None:
    torch.manual_seed(0)
    model = build_dit(dim=32, depth=2, heads=2, in_channels=4, text_dim=8, init="torch", position_grid=4)
    term = Internal(0.25, after_block=2, dim=32, latent_channels=4)
    assert term.module is not None
    objective = FlowMatching(
        LogitNormalScheduler(), torch.zeros(3, 8), 0.1, prediction, "min_snr", terms={"internal": term}
    )
    batch = Batch.of_strangers(torch.randn(6, 4, 4, 4), torch.randn(6, 3, 8))
    nothing = objective(model, batch, torch.Generator().manual_seed(1), 0)
    term.module.load_state_dict(model.proj_out.state_dict())
    losses = objective(model, batch, torch.Generator().manual_seed(1), 0)
    torch.testing.assert_close(losses["internal"], 0.25 * losses["velocity"])
    torch.testing.assert_close(nothing["velocity"], losses["velocity"])
    assert not torch.allclose(nothing["internal"], losses["internal"])


def test_it_teaches_the_blocks_before_it_and_none_after() -> None:
    torch.manual_seed(0)
    model = build_dit(dim=32, depth=2, heads=2, in_channels=4, text_dim=8, init="torch", position_grid=4)
    term = Internal(0.25, after_block=1, dim=32, latent_channels=4)
    assert isinstance(term.module, nn.Linear)
    torch.nn.init.normal_(term.module.weight)
    terms = {"internal": term}
    objective = FlowMatching(LogitNormalScheduler(), torch.zeros(3, 8), 0.0, VelocityPrediction(), terms=terms)
    batch = Batch.of_strangers(torch.randn(6, 4, 4, 4), torch.randn(6, 3, 8))
    objective(model, batch, torch.Generator().manual_seed(1), 0)["internal"].sum().backward()
    assert model.get_parameter("blocks.0.to_q.weight").grad is not None
    assert model.get_parameter("blocks.1.to_q.weight").grad is None
    assert term.module.weight.grad is not None
