"""What of a run needs no data: looked at before pictures are encoded, which may take hours."""

import math
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import nn
from torch.optim import Optimizer

from aaa.assembly.build import build
from aaa.assembly.parts import build_optimizer, build_schedule
from aaa.diffusion.autoguidance import GuidedByModel
from aaa.diffusion.guidance import Guidance
from aaa.errors import UserError, require_methods
from aaa.run.requirements import require_metric
from aaa.saved.named_model import require_there


def try_parts(config: DictConfig, model: nn.Module, guidance: Guidance) -> None:
    """Make once what needs no data, and let go of it: what is wrong with it is said before pictures are encoded.

    What is made later is made anew, from the same random numbers.

    Args:
        config: of a run.
        model: on the CPU.
        guidance: of its pictures.

    Raises:
        UserError: if the model is not one of the encoder's latents and prompts, one of the parts cannot be made, or a
            model that is named is not there.
    """
    _require_widths(config)
    with torch.random.fork_rng(devices=[]):
        _require_finite(build_optimizer(config, model))
        if config.budget.flops is None and config.budget.seconds is None:  # which know how many steps there will be
            build_schedule(config, config.trainer.max_steps)
        evaluation = build(config, "evaluation")
    require_methods(evaluation, ("evaluate",), "evaluation", "training asks of an evaluation")
    metric, validates = config.checkpoint.metric, config.trainer.validate_every_steps
    # Which noise levels and parts `val/loss_sigma_0.0_0.2` and the like are of, the data says.
    known = metric if metric.startswith("val/loss") else "val/loss"
    require_metric(config, evaluation, [known] if validates else [])
    if isinstance(guidance, GuidedByModel) and guidance.guide is None:
        _require_guide(Path(guidance.path))
    if (preview := config.sampling.preview) is not None and not Path(preview).is_dir():
        raise UserError(f"sampling.preview={preview}: there is no such folder.")


def _require_widths(config: DictConfig) -> None:
    """Refuse a model of ours of other latents or prompts than the encoder gives."""
    model, encoder = config.model, config.encoder
    if model.get("architecture") is not None:
        return
    for key, of_encoder in (("in_channels", "latent_channels"), ("text_dim", "prompt_dim")):
        if model[key] != encoder[of_encoder]:
            raise UserError(
                f"model.{key}={model[key]}: the encoder gives {encoder[of_encoder]} (encoder.{of_encoder}). Leave "
                f"model.{key} out: it follows."
            )


def _require_finite(optimizer: Optimizer) -> None:
    """Refuse a decay with which all weights are NaN after a step."""
    for group in optimizer.param_groups:
        decay = group.get("weight_decay")
        if isinstance(decay, float) and not math.isfinite(decay):
            raise UserError(
                f"optimizer.weight_decay={decay}: must be a number from 0 on, such as optimizer.weight_decay=0.01."
            )


def _require_guide(path: Path) -> None:
    try:
        require_there(path)
    except UserError as error:
        raise UserError(f"guidance.{error}") from None
