"""What `trainer.cuda_graph` does not go together with: told when it is composed."""

from omegaconf import DictConfig

from aaa.config.compiling import records_graphs
from aaa.errors import UserError

ON = "trainer.cuda_graph=true"
INSTEAD = "trainer.compile=reduce-overhead records the passes of the model alone."


def check_recording(trainer: DictConfig) -> None:
    """Refuse steps that look at what is on the GPU midway, or that are no step of one process.

    Raises:
        UserError: naming both keys.
    """
    if not trainer.cuda_graph:
        return
    if trainer.device == "cpu":
        require_recording_device(trainer, "cpu")
    if records_graphs(trainer.compile):
        raise UserError(
            f"{ON} and trainer.compile={trainer.compile}: a graph cannot record others; with trainer.compile=static "
            "it records what is compiled."
        )
    if trainer.on_nonfinite == "skip":
        raise UserError(
            f"{ON} and trainer.on_nonfinite=skip: whether a step is left out is only known when it is done. {INSTEAD}"
        )
    if trainer.parallel != "ddp":
        raise UserError(f"{ON} and trainer.parallel={trainer.parallel}: steps of one process can be recorded.")
    for key in ("gradient_checkpointing", "gradient_checkpointing_offload"):
        if trainer[key]:
            raise UserError(f"{ON} and trainer.{key}=true: no graph holds what it does between the passes. {INSTEAD}")


def require_recording_device(trainer: DictConfig, device: str) -> None:
    """Refuse to record steps for a device that records none.

    Raises:
        UserError: naming the key.
    """
    if trainer.cuda_graph and not device.startswith("cuda"):
        raise UserError(f"{ON}: a GPU records CUDA graphs, and trainer.device is {device}. Leave it out here.")
