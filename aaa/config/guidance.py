"""Which guidance a model can be drawn with, told from its config before anything is built."""

from omegaconf import DictConfig, OmegaConf

from aaa.config.routing import routed_blocks
from aaa.errors import UserError

INTERNAL = "aaa.diffusion.internal.InternalGuidance"
ROUTED = "aaa.diffusion.routed.RoutingGuidance"


def check_guidance(config: DictConfig) -> None:
    """Refuse a guidance that wants of a model what it does not have.

    Args:
        config: of a run or a saved model; earlier versions' say nothing of an internal head, or of routing. A model
            of a class that is not ours is asked itself, once it is there.

    Raises:
        UserError: naming both keys.
    """
    model = config.model
    if model.get("architecture") is not None:
        return
    target = OmegaConf.select(config, "guidance._target_")
    if target == INTERNAL and model.get("internal_head") is None:
        raise UserError(
            "guidance=internal: the model has no internal head (model.internal_head=null). It comes with training by "
            "objective.terms.internal.weight=0.25, to the end (objective.terms.internal.until_step=null)."
        )
    if target == ROUTED and routed_blocks(config) is None:
        raise UserError(
            "guidance=routing: the model routes no tokens (routing.kind=none). It learns to by training with "
            "routing=tread or routing=sprint. An earlier version's model/ does not say it: give the run."
        )
