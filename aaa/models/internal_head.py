"""A second head, after a block in the middle (Internal Guidance, CVPR 2026, arXiv 2512.24176, section 3.2).

Trained on the same target as the last one, it supervises the blocks before it, and is the weaker prediction that
guidance=internal steers away from, at no further pass.
"""

from torch import nn


class InternalHead(nn.Linear):
    """From a block's tokens, `B N dim`, to what the model predicts of them, `B N channels`.

    It starts from nothing, as the model's own head does, and draws nothing, so that all other weights start as they do
    without it.

    Args:
        dim, channels: see above.
        after_block: number of the block, from 1.
    """

    def __init__(self, dim: int, channels: int, after_block: int) -> None:
        self.after_block = after_block
        super().__init__(dim, channels)

    def reset_parameters(self) -> None:
        """All zeros, however the model starts."""
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)
