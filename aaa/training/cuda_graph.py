"""Whole steps of training as CUDA graphs: one launch in place of the thousand of a small model's step.

What is recorded is a step as it is taken otherwise, forward and backward, clipping, the optimizer's update and the
average of the weights; what differs from step to step (samples, seeds, learning rates) it reads from where it read it
the first time (docs.pytorch.org/docs/stable/notes/cuda.html, "whole-network capture").
"""

import gc
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from aaa.config.cuda_graph import INSTEAD, ON
from aaa.data.batch import Batch
from aaa.errors import UserError
from aaa.training.optimizers import MixedAdamW, MuonWithAdamW
from aaa.training.progress import Progress
from aaa.training.settings import LoopSettings
from aaa.training.step import (
    MicroBatch,
    StepResult,
    Trainee,
    positions_of,
    seed_torch,
    set_rates,
    step_seed,
    update_weights,
)

logger = logging.getLogger(__name__)

Shapes = tuple[torch.Size, ...]  # of a step's tensors

MOST_SHAPES = 16  # steps of further ones are taken as they are


class GraphRecorder(Protocol):
    """What makes of work on a device something that does it again."""

    def __call__(self, work: Callable[[], None], generators: Sequence[torch.Generator]) -> Callable[[], None]:
        """Record the work, without doing it.

        Args:
            work: reads and writes the same memory each time.
            generators: that it draws from, each of which has another seed each time.
        """
        ...

    def apart(self) -> AbstractContextManager[None]:
        """A block of work of the kind that is recorded, done as it is."""
        ...


class CudaRecorder:
    """CUDA graphs, which share memory: of one nothing is left when another has run.

    They are recorded on a stream of their own, on which the same work has been done before: autograd remembers the
    stream of what it keeps from one backward pass to the next, and a graph may depend on no other.
    """

    def __init__(self) -> None:
        self._pool, self._stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream()

    @contextmanager
    def apart(self) -> Iterator[None]:
        """See `GraphRecorder`."""
        others = torch.cuda.current_stream()
        self._stream.wait_stream(others)
        with torch.cuda.stream(self._stream):
            yield
        others.wait_stream(self._stream)

    def __call__(self, work: Callable[[], None], generators: Sequence[torch.Generator]) -> Callable[[], None]:
        """See `GraphRecorder`."""
        graph = torch.cuda.CUDAGraph()
        for generator in generators:
            graph.register_generator_state(generator)
        gc.collect()  # what autograd keeps alive by chance
        # What other threads do, reading ahead or writing a checkpoint, is none of this graph's business.
        others = torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
                work()
        except RuntimeError:
            torch.cuda.set_stream(others)  # where torch is only back if a recording ends well
            raise
        return graph.replay


class _Kept:
    """A step of one shape.

    Attributes:
        batches: of its micro-batches, which every step of the shape is copied to.
        replay: takes a step; None before it is recorded.
        result: where a step leaves what came of it.
    """

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches = [batch.with_each(Tensor.clone) for batch in batches]
        self.replay: Callable[[], None] | None = None
        self.result: StepResult | None = None

    def fill(self, batches: Sequence[Batch]) -> None:
        """Take over other samples of the shape."""
        for to, batch in zip(self.batches, batches, strict=True):
            for place, tensor in zip(to.on_device, batch.on_device, strict=True):
                place.copy_(tensor, non_blocking=True)


class RecordedSteps:
    """Takes steps as `take_step` does, and records them.

    A step of a shape that was not there before is taken as it is, which compiles and allocates whatever is still to be;
    the second one is recorded. Shapes are those of the tensors; steps that measure norms are others than those that do
    not. Where `settings.cuda_graph` is `auto` and a step cannot be recorded, it and all after it are taken as they are.

    Args:
        trainee: is changed.
        settings: of the run.
        recorder: None: one of CUDA graphs.

    Raises:
        UserError: if there is something about a step that a graph would not do again.
    """

    def __init__(self, trainee: Trainee, settings: LoopSettings, recorder: GraphRecorder | None = None) -> None:
        _require_recordable(trainee)
        self.trainee, self.settings = trainee, settings
        self._recorder = CudaRecorder() if recorder is None else recorder
        device = trainee.accelerator.device
        self._draws = self._new_draws()
        self._rates = [torch.zeros((), device=device) for _ in trainee.optimizer.param_groups]
        self._share = torch.zeros((), device=device)  # of the weights, that their average takes in
        self._kept: dict[tuple[Shapes, bool], _Kept] = {}
        self._given_up = False

    def _new_draws(self) -> list[torch.Generator]:
        device = self.trainee.accelerator.device
        return [torch.Generator(device) for _ in range(self.settings.gradient_accumulation_steps)]

    def takes(self, trainee: Trainee, settings: LoopSettings) -> bool:
        """Whether these are its steps, of however long a run."""
        return trainee == self.trainee and replace(settings, max_steps=self.settings.max_steps) == self.settings

    def take(self, progress: Progress, base_rates: list[float], *, measure_norms: bool) -> StepResult:
        """Take the step that `progress` is before; see `take_step`."""
        trainee, settings = self.trainee, self.settings
        device = trainee.accelerator.device
        batches = [trainee.batches(at).to(device) for at in positions_of(trainee, settings, progress)]
        self._tell(progress, base_rates)
        shapes = tuple(tensor.shape for batch in batches for tensor in batch.on_device)
        kept = self._kept.get((shapes, measure_norms))
        if kept is None:
            if not self._given_up and len({shapes} | {of_kept for of_kept, _ in self._kept}) <= MOST_SHAPES:
                self._kept[shapes, measure_norms] = _Kept(batches)
            with self._recorder.apart():
                step = self._do(batches, progress.step, measure_norms=measure_norms)
        else:
            kept.fill(batches)
            if kept.replay is None:
                kept.replay = self._recorded(kept, progress.step, measure_norms=measure_norms)
            if kept.replay is None:
                self._give_up()
                return self.take(progress, base_rates, measure_norms=measure_norms)
            kept.replay()
            assert kept.result is not None
            step = _cloned(kept.result)
        if trainee.ema is not None:
            trainee.ema.n_averaged += 1
        return step

    def _tell(self, progress: Progress, base_rates: list[float]) -> None:
        """Put what differs from step to step where a recorded step looks for it."""
        trainee = self.trainee
        set_rates(trainee, progress, base_rates)
        for rate, group in zip(self._rates, trainee.optimizer.param_groups, strict=True):
            rate.fill_(group["lr"])
        if trainee.ema is not None:
            self._share.fill_(trainee.ema.next_share())
        for micro, draws in enumerate(self._draws):
            draws.manual_seed(step_seed(trainee, self.settings, progress, micro))
        seed_torch(step_seed(trainee, self.settings, progress, 0), trainee.accelerator.device)

    def _recorded(self, kept: _Kept, number: int, *, measure_norms: bool) -> Callable[[], None] | None:
        """What takes a step of the shape; None if it cannot be recorded and need not be."""

        def work() -> None:
            kept.result = self._do(kept.batches, number, measure_norms=measure_norms)

        try:
            return self._recorder(work, self._draws)
        except RuntimeError as error:  # out of memory, or something in it looks at what is on the device
            if self.settings.cuda_graph == "auto":
                logger.warning("Steps are taken as they are from here on: recording one failed (%s)", _cause(error))
                return None
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise UserError(f"{ON}: a step cannot be recorded ({_cause(error)}). {INSTEAD}") from error

    def _give_up(self) -> None:
        """Take steps as they are from here on; what was recorded is let go of, with what was left half done."""
        self._given_up = True
        self._kept.clear()
        self._draws = self._new_draws()  # the old ones may still wait for a recording to end
        for parameter in self.trainee.parameters:
            parameter.grad = None

    def _do(self, batches: Sequence[Batch], number: int, *, measure_norms: bool) -> StepResult:
        trainee = self.trainee
        micro_batches = [MicroBatch(*each) for each in zip(batches, self._draws, strict=True)]
        with _rates_on_device(trainee.optimizer, self._rates):
            step = update_weights(trainee, self.settings, micro_batches, number, measure_norms=measure_norms)
        if trainee.ema is not None:
            trainee.ema.move_towards(trainee.accelerator.unwrap_model(trainee.model), self._share)
        return step


@contextmanager
def _rates_on_device(optimizer: Optimizer, rates: Sequence[Tensor]) -> Iterator[None]:
    """A block in which the optimizer reads its learning rates from the device, and may be recorded."""
    groups = optimizer.param_groups
    before = [dict(group) for group in groups]
    recording = torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
    for group, rate in zip(groups, rates, strict=True):
        group["lr"] = rate
        if "capturable" in group:
            group["capturable"] = recording  # torch's word that it does not look at what is on the device
    try:
        yield
    finally:
        for group, settings in zip(groups, before, strict=True):
            group.update(settings)


def _cause(error: BaseException) -> str:
    """What went wrong first: ending a recording that has failed raises an error of its own."""
    while error.__context__ is not None:
        error = error.__context__
    return (str(error).splitlines() or [type(error).__name__])[0]


def _require_recordable(trainee: Trainee) -> None:
    """Refuse what a graph would not do again.

    Raises:
        UserError: naming the key.
    """
    if (count := trainee.accelerator.num_processes) > 1:
        raise UserError(f"{ON}: steps of one process can be recorded, and there are {count}. {INSTEAD}")
    optimizer = getattr(trainee.optimizer, "optimizer", trainee.optimizer)  # without accelerate's wrapper
    if not isinstance(optimizer, MuonWithAdamW | MixedAdamW):
        name = type(optimizer).__name__
        raise UserError(f"{ON}: steps of {name} cannot be recorded, those of optimizer=muon and adamw can. {INSTEAD}")
    if strange := {parameter.dtype for parameter in trainee.parameters} - {torch.float32}:
        raise UserError(f"{ON}: weights must be float32, and there are some of {strange.pop()}. {INSTEAD}")
    if trainee.unrecordable:
        raise UserError(f"{ON}: {trainee.unrecordable} {INSTEAD}")


def _cloned(step: StepResult) -> StepResult:
    """What the next step of the shape does not write over."""

    def clones(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in tensors.items()}

    return step._replace(
        loss=step.loss.clone(),
        terms=clones(step.terms),
        sample_losses=step.sample_losses.clone(),
        grad_norm=step.grad_norm.clone(),
        norms=clones(step.norms),
    )
