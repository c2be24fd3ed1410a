"""Which blocks a config lets some tokens skip."""

from omegaconf import DictConfig

SPRINT = "sprint"  # the kind that is part of the model: its fusion has weights, after the last of these blocks
OF_FUSION = ("kind", "first_block", "last_block")


def routed_blocks(config: DictConfig) -> tuple[int, int] | None:
    """First and last of the blocks that some tokens skip while training, from 1; None where nothing is routed.

    Args:
        config: of a run or a saved model, whose routing is accepted; earlier versions' say nothing of it.
    """
    routing = config.get("routing")
    if routing is None or routing.kind == "none":
        return None
    return routing.first_block, config.model.depth - 1 if routing.last_block is None else routing.last_block
