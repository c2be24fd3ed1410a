"""What is measured: the model, optimizer and loss of a config, on made-up latents that are already in memory."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from aaa.assemble import build, build_optimizer
from aaa.diffusion.loss import training_loss
from aaa.models.factory import build_dit, forward_flops
from aaa.training.compiling import compile_model
from aaa.training.ema import averaged_model
from aaa.training.precision import precision as precision_of


@dataclass
class Subject:
    """Everything a training step needs.

    Attributes:
        accelerator: with the precision asked for.
        model, optimizer: prepared by it.
        ema: or None.
        loss: of each sample of a batch, as the trainer calls it.
        batches: made-up samples at positions of a data order.
        flops: of forward and backward, a sample.
        tokens: of a sample, latents and prompt together.
        compute_dtype: of the matrix products.
    """

    accelerator: Accelerator
    model: nn.Module
    optimizer: Optimizer
    ema: AveragedModel | None
    loss: Callable[[nn.Module, Tensor, Tensor, torch.Generator], Tensor]
    batches: Callable[[range], tuple[Tensor, Tensor]]
    flops: int
    tokens: int
    compute_dtype: torch.dtype

    def close(self) -> None:
        """Make room for another precision."""
        self.accelerator.free_memory()
        AcceleratorState._reset_state(reset_partial_state=True)


def make_subject(config: DictConfig, device: str, *, precision: str, compiled: bool, records: int = 256) -> Subject:
    """The config's model as the trainer would train it.

    Args:
        config: composed.
        device: `cpu` or `cuda`.
        precision: instead of the config's.
        compiled: by torch.compile.
        records: made-up ones.
    """
    mixed, dtype = precision_of(precision)
    accelerator = Accelerator(mixed_precision=mixed, cpu=device == "cpu")
    torch.manual_seed(config.seed)
    model = build_dit(**{key: value for key, value in config.model.items() if key != "name"})
    model = model.to(accelerator.device, dtype)
    ema = averaged_model(model, config.trainer.ema_decay) if config.trainer.ema_decay else None
    if compiled:
        compile_model(model, accelerator.device)
    side = config.data.resolution // config.encoder.downscale_factor
    text_tokens, text_dim = config.encoder.max_prompt_tokens, config.model.text_dim
    draws = torch.Generator().manual_seed(0)
    latents = torch.randn(records, config.model.in_channels, side, side, generator=draws)
    prompt_embeds = torch.randn(records, text_tokens, text_dim, generator=draws)
    scheduler = build(config, "scheduler")
    empty = prompt_embeds[0].to(accelerator.device, dtype)

    def loss(model: nn.Module, latents: Tensor, prompt_embeds: Tensor, generator: torch.Generator) -> Tensor:
        return training_loss(
            model,
            latents.to(dtype),
            prompt_embeds.to(dtype),
            scheduler=scheduler,
            empty_prompt_embeds=empty,
            prompt_dropout=config.trainer.prompt_dropout,
            generator=generator,
        )

    def batches(positions: range) -> tuple[Tensor, Tensor]:
        chosen = torch.arange(positions.start, positions.stop) % records
        return latents[chosen], prompt_embeds[chosen]

    flops = 3 * forward_flops(model, side, side, text_tokens)
    prepared_model, optimizer = accelerator.prepare(model, build_optimizer(config, model))
    return Subject(
        accelerator,
        prepared_model,
        optimizer,
        ema,
        loss,
        batches,
        flops,
        side**2 + text_tokens,
        torch.float32 if precision == "float32" else torch.bfloat16,
    )
