"""Which config keys are no settings of what is learned, and when two values of one are the same."""

import re
from typing import Any

# Keys that say how and where a run was started, kept and logged, and no setting of what it learns.
IGNORED = re.compile(
    r"(name|output_dir|resume|repeat|trust_config|encoder\.(batch_size|vae\.latent_(mean|std)))"
    r"|data\.(parts\.[^.]+\.)?(cache_dir|local_cache_gib|license|attribution)|(logger|sweep|checkpoint)(\..*)?"
    r"|trainer\.(device|cuda_graph|collective_timeout_seconds|(log|sample|save)_every_steps)|sampling\.prompts"
)
# Keys that the validation loss does not go by: how pictures are drawn and judged, and how often it is looked.
BESIDE_THE_LOSS = re.compile(
    r"seed|(sampling|sampler|guidance|evaluation)(\..*)?|trainer\.(evaluate|validate)_every_steps"
)
# Keys that time and memory of a step go by, and of what is learned no more than rounding, unless time is the budget.
OF_SPEED = re.compile(r"trainer\.(parallel|shard_processes|compile|gradient_checkpointing(_offload)?)")


def compared_value(value: Any) -> str:
    """A value as text that is equal for equal values: 2 and 2.0, alone or in a list, are one number."""
    return repr(_by_value(value))


def _by_value(value: Any) -> Any:
    if isinstance(value, list):
        return [_by_value(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
