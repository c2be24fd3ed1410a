"""How `trainer.compile` compiles, and what that does not go together with: told when it is composed."""

from omegaconf import DictConfig

from aaa.errors import UserError

# Ways that compile for the shapes of a training step alone, by torch's names for their modes but for the first.
STATIC = "static"
GRAPHS = ("reduce-overhead", "max-autotune")  # record CUDA graphs
ONE_SHAPE = (STATIC, *GRAPHS, "max-autotune-no-cudagraphs")

OTHERWISE = f"trainer.compile={STATIC} compiles for one shape without them."


def records_graphs(how: bool | str) -> bool:
    """Whether a way to compile records CUDA graphs, which replay a whole pass with one launch."""
    return how in GRAPHS


def has_one_shape(how: bool | str) -> bool:
    """Whether what is compiled is for the shapes of a training step alone."""
    return how in ONE_SHAPE


def check_compiling(trainer: DictConfig) -> None:
    """Refuse CUDA graphs where they cannot be, or would give other gradients.

    Raises:
        UserError: naming both keys.
    """
    if not records_graphs(trainer.compile):
        return
    if trainer.device == "cpu":
        require_graphs(trainer.compile, "cpu")
    if trainer.gradient_accumulation_steps > 1:
        # A graph writes every gradient to where it wrote the last one: pytorch/pytorch#96693 and #169545.
        raise UserError(
            f"trainer.compile={trainer.compile} and "
            f"trainer.gradient_accumulation_steps={trainer.gradient_accumulation_steps}: CUDA graphs overwrite the "
            f"gradients of one micro-batch with those of the next. {OTHERWISE}"
        )
    if trainer.gradient_checkpointing_offload:
        raise UserError(
            f"trainer.compile={trainer.compile} and trainer.gradient_checkpointing_offload=true: no CUDA graph holds "
            f"copies to the CPU's memory. {OTHERWISE}"
        )


def require_graphs(how: bool | str, device: str) -> None:
    """Refuse CUDA graphs for a device that records none.

    Raises:
        UserError: naming the key, and what to choose instead.
    """
    if records_graphs(how) and not device.startswith("cuda"):
        raise UserError(
            f"trainer.compile={how}: records CUDA graphs, and trainer.device is {device}. {OTHERWISE} "
            "trainer.compile=true for any shape."
        )
