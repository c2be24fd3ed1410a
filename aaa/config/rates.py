"""What of learning rates, their base and the average of the weights does not go together: told when it is composed."""

import math

from omegaconf import DictConfig, OmegaConf

from aaa.errors import UserError

WITHOUT_RULES = ("aaa.training.soap.soap",)
STANDARD = "model.parametrization=standard takes the rate as it is."
EVEN = 0.5  # the share of a run over which an average weighs all steps the same


def check_rates(config: DictConfig) -> None:
    """Refuse rates and averages of which it cannot be said what they are.

    Raises:
        UserError: naming both keys.
    """
    for key in ("optimizer.learning_rate", "optimizer.adamw_learning_rate"):
        rate = OmegaConf.select(config, key)
        if isinstance(rate, int | float) and not 0 <= rate < math.inf:
            raise UserError(f"{key}={rate}: must be a number from 0 on, such as {key}=5e-3.")
    if config.model.parametrization == "mup":
        _check_base(config)
    trainer = config.trainer
    if trainer.base_batch_size is not None and trainer.batch_size == "auto":
        raise UserError(
            f"trainer.base_batch_size={trainer.base_batch_size}: the learning rate follows trainer.batch_size, and "
            "auto is not known before the run. Give a number."
        )
    if trainer.ema_memory is not None:
        _check_memory(trainer)


def _check_base(config: DictConfig) -> None:
    """Refuse a model that the rules for its size, `model.parametrization=mup`, cannot compare with their base."""
    model = config.model
    if model.init != "scaled":
        raise UserError(
            f"model.parametrization=mup has initial values of its own, model.init={model.init} others. {STANDARD}"
        )
    if config.optimizer.get("_target_") in WITHOUT_RULES:
        raise UserError(
            f"optimizer={config.optimizer._target_}: model.parametrization=mup has rules for AdamW and Muon. {STANDARD}"
        )
    if config.budget.parameters is not None:
        raise UserError(
            "model.parametrization=mup keeps heads as wide as those of the base, budget.parameters changes their "
            f"width. {STANDARD}"
        )
    if model.dim * model.base_heads != model.base_dim * model.heads:
        fitting = model.dim * model.base_heads / model.base_dim
        raise UserError(
            f"model.heads={model.heads}: with model.parametrization=mup heads are as wide as those of the base, "
            f"model.base_dim={model.base_dim} over model.base_heads={model.base_heads}. That makes {fitting:g} at "
            f"model.dim={model.dim}. {STANDARD}"
        )


def _check_memory(trainer: DictConfig) -> None:
    """Refuse an average with two memories, or one of which it cannot be said how many steps it is."""
    memory = trainer.ema_memory
    if trainer.ema_decay is not None:
        raise UserError(
            f"trainer.ema_memory={memory:g} and trainer.ema_decay={trainer.ema_decay:g} both say how long the average "
            "of the weights remembers: set trainer.ema_decay=null."
        )
    if EVEN < memory < 1:
        raise UserError(
            f"trainer.ema_memory={memory:g}: must be a share of the run, at most {EVEN}, or a number of samples."
        )
    if memory >= 1 and trainer.batch_size == "auto":
        raise UserError(
            f"trainer.ema_memory={memory:g}: samples are steps only where trainer.batch_size is a number, not auto."
        )
    if 1 <= memory < trainer.batch_size:
        raise UserError(
            f"trainer.ema_memory={memory:g}: must be at least trainer.batch_size={trainer.batch_size}, one step."
        )
