"""Whether a run's steps are recorded as CUDA graphs: what `trainer.cuda_graph=auto` stands for."""

import logging

import torch
from omegaconf import DictConfig

from aaa.config.compiling import STATIC
from aaa.config.cuda_graph import may_record
from aaa.objectives.cuda_graph import why_unrecordable
from aaa.run.trial import Trial
from aaa.training.fitting import USED_SHARE, Footprint
from aaa.training.memory import total_memory

logger = logging.getLogger(__name__)

# Forward and backward pass of a micro-batch. With more, an H100 hardly waits for a CPU that launches its kernels
# (experiments/gpu: it rests 47% of steps of 6e12, 2% of those of 1.7e13), and slower ones did not before.
MOST_FLOPS = 1e13
COMPILED = (False, STATIC)  # what has been recorded on a GPU


def records_steps(config: DictConfig, trial: Trial, footprint: Footprint, samples: int, flops_per_sample: int) -> bool:
    """Whether to record, of a config that has been checked: as it says, or where it is worth it and nothing objects.

    The answer is the same for a run that is resumed on such a device, whoever else uses it.

    Args:
        config: of the run; `budget.seconds` are of steps that are taken as they are, by which they were timed.
        trial: of the model and the objective, on their device.
        footprint: of steps that are taken as they are; a graph keeps the memory of one of its own.
        samples: of a micro-batch of one process.
        flops_per_sample: of forward and backward pass.
    """
    if config.trainer.cuda_graph != "auto":
        return bool(config.trainer.cuda_graph)
    device = trial.session.device
    recorded = (
        device.type == "cuda"
        and trial.session.accelerator.num_processes == 1
        and config.budget.seconds is None
        and config.trainer.compile in COMPILED
        and {parameter.dtype for parameter in trial.model.parameters()} == {torch.float32}
        and samples * flops_per_sample <= MOST_FLOPS
        and may_record(config)
        and why_unrecordable(trial.objective, trial.model) is None
        and footprint.recorded().of(samples) <= USED_SHARE * total_memory(device)
    )
    if recorded:
        logger.info("Steps are recorded as a CUDA graph, which is launched at once; not with trainer.cuda_graph=false")
    return recorded
