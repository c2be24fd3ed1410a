"""What does not go with weights that are divided over processes: told when the run is composed."""

from omegaconf import DictConfig

from aaa.errors import UserError

WHOLE_MATRICES = ("aaa.training.soap.soap",)  # its preconditioners are of whole matrices, each a parameter of its own
ALTERNATIVE = "With trainer.parallel=ddp each process has the whole model."


def check_parallel(config: DictConfig) -> None:
    """Refuse a model, an optimizer or a way to run them that needs whole weights.

    Raises:
        UserError: naming both keys.
    """
    trainer, model = config.trainer, config.model
    if trainer.shard_processes is not None and trainer.parallel != "hsdp":
        raise UserError(
            f"trainer.shard_processes={trainer.shard_processes}: trainer.parallel={trainer.parallel} has no groups of "
            "processes; trainer.parallel=hsdp has."
        )
    if trainer.parallel == "ddp":
        return
    chosen = f"trainer.parallel={trainer.parallel}"
    if model.get("architecture") is not None:
        raise UserError(
            f"{chosen}: which parts of the class that model.architecture names are to be gathered one by one is not "
            f"known. {ALTERNATIVE}"
        )
    if model.value_residual:
        raise UserError(
            f"{chosen}: each block of model.value_residual=true learns a single number, which has no rows to divide. "
            f"{ALTERNATIVE}"
        )
    if config.optimizer.get("_target_") in WHOLE_MATRICES:
        raise UserError(
            f"{chosen}: the optimizer {config.optimizer._target_} needs whole matrices, optimizer=adamw and "
            f"optimizer=muon do not. {ALTERNATIVE}"
        )
    if trainer.compile:
        raise UserError(f"{chosen}: trainer.compile=true compiles a model as one piece. {ALTERNATIVE}")
    if trainer.gradient_checkpointing_offload:
        raise UserError(
            f"{chosen}: trainer.gradient_checkpointing_offload=true is not tried with it; "
            "trainer.gradient_checkpointing=true is."
        )
