import pytest
from torch import nn

from aaa.models.factory import build_dit
from aaa.models.parameters import fused_matrices, matrices


def test_a_model_says_which_of_its_weights_are_several() -> None:
    model = build_dit(32, 2, 2, in_channels=12, text_dim=8)
    assert fused_matrices(model) == {"blocks.0.to_gate.weight": 2, "blocks.1.to_gate.weight": 2}
    assert fused_matrices(model.blocks[0]) == {"to_gate.weight": 2}
    assert fused_matrices(nn.Linear(2, 2)) == {}
    two_streams = build_dit(32, 2, 2, in_channels=12, text_dim=8, modulation="adaln", joint="mmdit")
    assert fused_matrices(two_streams.blocks[0]) == {"latents.to_gate.weight": 6, "text.to_gate.weight": 6}
    shared = build_dit(32, 2, 2, in_channels=12, text_dim=8, modulation="adaln_shared")
    assert fused_matrices(shared) == {"modulation.1.weight": 6}


@pytest.mark.parametrize(
    ("module", "named"),
    [
        (nn.Linear(2, 3), {"weight"}),
        (nn.Conv2d(2, 3, 3), {"weight"}),
        (nn.Embedding(4, 2), set()),
        (nn.LayerNorm((2, 3)), set()),
        (nn.RMSNorm((2, 3)), set()),
        (nn.MultiheadAttention(4, 2), {"in_proj_weight", "out_proj.weight"}),
    ],
)
def test_tables_and_scales_are_no_matrices(module: nn.Module, named: set[str]) -> None:
    assert matrices(module) == named
