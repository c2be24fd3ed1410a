"""What is measured: the model, optimizer and loss of a config, on made-up latents that are already in memory."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from omegaconf import DictConfig
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim import Optimizer

from aaa.assembly.parts import build_model, build_objective, build_optimizer, model_without_weights
from aaa.data.batch import Batch
from aaa.data.randomness import generator
from aaa.objectives.costs import training_flops
from aaa.objectives.cuda_graph import why_unrecordable
from aaa.run.learner import place_model, save_memory
from aaa.run.session import Session
from aaa.run.trial import loss_in
from aaa.tracking.tracker import NoLogger, RunInfo, Tracker
from aaa.training.callbacks import Callback
from aaa.training.compiling import compile_model
from aaa.training.cuda_graph import RecordedSteps
from aaa.training.ema import EMA
from aaa.training.fitting import Footprint, measure_footprint
from aaa.training.loop import Hooks, fit
from aaa.training.precision import choose_precision
from aaa.training.progress import Progress
from aaa.training.settings import LoopSettings
from aaa.training.signals import StopSignals, obey
from aaa.training.step import Batches, Loss, Trainee, sum_of

RECORDS = 256  # made-up ones
Log = Callable[[int, dict[str, float]], None]


@dataclass
class Subject:
    """Everything a training step needs.

    Attributes:
        session: with the precision asked for.
        model, optimizer: prepared by it.
        ema: or None.
        loss: its terms for each sample of a batch, as the trainer calls it.
        batches: made-up samples at positions of a data order.
        flops: of forward and backward, a sample.
        tokens: of a sample, latents and prompt together.
        unrecordable: why `trainer.cuda_graph` is not for it, or None.
    """

    session: Session
    model: nn.Module
    optimizer: Optimizer
    ema: EMA | None
    loss: Loss
    batches: Batches
    flops: int
    tokens: int
    unrecordable: str | None = None
    _recorded: RecordedSteps | None = None

    @property
    def accelerator(self) -> Accelerator:
        """Places and synchronises."""
        return self.session.accelerator

    def bare_step(self, batch_size: int, number: int, *, micro_batches: int = 1) -> Tensor:
        """A step of training and nothing else: nothing is waited for, read back, shown or logged.

        Args:
            batch_size: of the step, a multiple of its micro-batches.
            number: of the step.
            micro_batches: that make it up.

        Returns:
            The mean loss.
        """
        device, share = self.accelerator.device, batch_size // micro_batches
        draws = generator("bench", number, device=device)
        step_loss = torch.zeros((), device=device)
        for start in range(number * batch_size, (number + 1) * batch_size, share):
            batch = self.batches(range(start, start + share)).to(device)
            loss = sum_of(self.loss(self.model, batch, draws, 0)).mean() / micro_batches
            self.accelerator.backward(loss)
            step_loss += loss.detach()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.ema is not None:
            self.ema.update_parameters(self.accelerator.unwrap_model(self.model))
        return step_loss

    def trial_loss(self, samples: int) -> Tensor:
        """Of a batch of so many."""
        device = self.accelerator.device
        batch = self.batches(range(samples)).to(device)
        return sum_of(self.loss(self.model, batch, generator("trial", device=device), 0)).mean()

    def footprint(self) -> Footprint:
        """Of steps, before the first of them."""
        return measure_footprint(self.trial_loss, self.model, self.session.device, optimizer=self.optimizer)

    def train(self, config: DictConfig, progress: Progress, max_steps: int, batch_size: int, log: Log) -> None:
        """The trainer's own steps, with progress, EMA and logging as the config has them."""
        trainer = config.trainer
        settings = LoopSettings(
            seed=config.seed,
            max_steps=max_steps,
            batch_size=batch_size,
            gradient_accumulation_steps=1,
            max_grad_norm=trainer.max_grad_norm,
            log_every_steps=trainer.log_every_steps,
            save_every_steps=trainer.save_every_steps,
            cuda_graph=trainer.cuda_graph is True,
        )
        trainee = Trainee(
            self.accelerator,
            self.model,
            self.optimizer,
            self.ema,
            self.loss,
            self.batches,
            _unscheduled,
            unrecordable=self.unrecordable,
        )
        if settings.cuda_graph and (self._recorded is None or not self._recorded.takes(trainee, settings)):
            self._recorded = RecordedSteps(trainee, settings)
        validation = Callback("validate", trainer.validate_every_steps, lambda _: None)
        signals = StopSignals()
        hooks = Hooks([validation], lambda _step, _last: None, log, lambda anomaly: f"step {anomaly.step}")
        signum = fit(trainee, settings, hooks, progress, signals, self._recorded)
        obey(signum)  # what stopped these steps stops the benchmark

    def close(self) -> None:
        """Make room for another precision."""
        self.session.close()


def _unscheduled(_step: int) -> float:
    return 1.0


def make_subject(
    config: DictConfig,
    device: str,
    *,
    precision: str,
    compiled: bool | str,
    prompt_tokens: int | None = None,
    tuned: bool = True,
) -> Subject:
    """The config's model as the trainer would train it.

    Args:
        config: composed.
        device: `cpu` or `cuda`.
        precision: instead of the config's.
        compiled: whether by torch.compile, or how: `trainer.compile`.
        prompt_tokens: of each prompt; None for all that the encoder pads to.
        tuned: set what the trainer sets.
    """
    precision = choose_precision(precision, torch.device(device))
    accumulation = config.trainer.gradient_accumulation_steps
    session = Session(device, precision, accumulation, compiled=compiled, tuned=tuned)
    torch.manual_seed(config.seed)
    model, ema, _ = place_model(config, build_model(config), session)
    if compiled:
        compile_model(model, session.device, compiled)
    return _subject(config, session, model, ema, prompt_tokens)


@contextmanager
def quiet_tracker() -> Iterator[Tracker]:
    """A block with a tracker that writes rows of metrics as a run's does, and that nobody reads."""
    with tempfile.TemporaryDirectory() as folder:
        yield Tracker(RunInfo(Path(folder), "bench", {}, [], None, 0), NoLogger())


@contextmanager
def foreseen_subject(config: DictConfig, device: str) -> Iterator[Subject]:
    """A block in which the same can be asked what it would compute, at once and whatever its size.

    Its tensors have shapes and devices, but no numbers and no memory. It has no average of its weights.

    Args:
        config: composed.
        device: `cpu` or `cuda`.
    """
    trainer = config.trainer
    session = Session(device, choose_precision(trainer.precision, torch.device(device)), 1)
    try:
        model = model_without_weights(config).to(session.dtype)
        save_memory(config, model)
        fake = FakeTensorMode(allow_non_fake_inputs=True)
        subject = _subject(config, session, model, None, None, fake)
        with fake:
            yield subject
    finally:
        session.close()


def _subject(
    config: DictConfig,
    session: Session,
    model: nn.Module,
    ema: EMA | None,
    prompt_tokens: int | None,
    fake: FakeTensorMode | None = None,
) -> Subject:
    """What trains a model; in a fake mode its weights, which it need not have, are replaced by such without numbers."""
    accelerator = session.accelerator
    side = config.data.resolution // config.encoder.downscale_factor
    text_tokens = prompt_tokens or config.encoder.max_prompt_tokens
    channels, text_dim = config.model.in_channels, config.model.text_dim
    draws = torch.Generator().manual_seed(0)
    latents = torch.randn(RECORDS, channels, side, side, generator=draws)
    prompt_embeds = torch.randn(RECORDS, text_tokens, text_dim, generator=draws)
    if accelerator.device.type == "cuda":  # as the trainer does
        latents, prompt_embeds = latents.to(accelerator.device), prompt_embeds.to(accelerator.device)
    empty = prompt_embeds[0].to(session.device, session.dtype)
    objective = build_objective(config, empty)
    extras = {
        name: torch.randn(RECORDS, extra.channels, side, side, generator=draws).to(latents.device)
        for name, extra in objective.extras.items()
    }

    def batches(positions: range) -> Batch:
        chosen = torch.arange(positions.start, positions.stop, device=latents.device) % RECORDS
        batch = Batch.of_strangers(latents[chosen], prompt_embeds[chosen])
        return batch._replace(extras={name: extra[chosen] for name, extra in extras.items()})

    flops = training_flops(model, objective, side, side, text_tokens, channels=channels, text_dim=text_dim)
    of_objective = nn.ModuleDict(objective.modules)
    with fake or nullcontext():
        if fake is not None:
            nn.ModuleList([model, of_objective]).to_empty(device=session.device)
        prepare = partial(accelerator.prepare, device_placement=None if fake is None else [False])  # it is there
        prepared_model, optimizer = prepare(model), prepare(build_optimizer(config, model, of_objective))
        objective.use({name: prepare(module) for name, module in of_objective.items()})
    return Subject(
        session,
        prepared_model,
        optimizer,
        ema,
        loss_in(session.dtype, objective),
        batches,
        flops,
        side**2 + text_tokens,
        why_unrecordable(objective, model),
    )
