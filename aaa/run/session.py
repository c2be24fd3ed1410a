"""What a run computes on: its processes, their device and precision, and the signals that may end it."""

import logging
from types import TracebackType
from typing import Literal

import torch
from accelerate.state import AcceleratorState
from omegaconf import DictConfig

from aaa.config.compiling import require_graphs
from aaa.config.cuda_graph import require_recording_device
from aaa.devices import pick_device
from aaa.errors import UserError
from aaa.run.accelerator import make_accelerator
from aaa.run.folder import recorded_precision
from aaa.run.together import meet
from aaa.run.unused_gpu import why_unused
from aaa.tracking.variables import processes_of_machine, wants_cpu
from aaa.training.precision import choose_precision, precision
from aaa.training.sharding import make_mesh
from aaa.training.signals import StopSignals
from aaa.training.tuning import tune_for

logger = logging.getLogger(__name__)


class Session:
    """Processes, a device each, and a precision; as a context manager it gives them back.

    Args:
        device: `cpu` or `cuda`.
        precision_name: `float32`, `bf16` or `bf16_weights`.
        gradient_accumulation_steps: of the config.
        compiled: whether models are to be compiled, or how: `trainer.compile`.
        tuned: set threads, allocators and formats as training has them.
        timeout_seconds: for a collective of the processes; None for torch's own.
        parallel: `ddp`, `fsdp` or `hsdp`.
        shard_processes: of a group, with `hsdp`; None: those of this machine.

    Attributes:
        accelerator: places and synchronises.
        processes: share out what is no training, and wait for each other without end.
        device: of this process.
        dtype: of weights and of what goes into the model.
        product_dtype: that matrices are multiplied in.
        signals: where signals to stop arrive.
        mesh: how processes divide the weights, None where each has all of them.

    Raises:
        UserError: if there is no such precision, the environment asks for what there is not, CUDA graphs are to be
            recorded without CUDA, or processes make no such groups.
    """

    def __init__(
        self,
        device: str,
        precision_name: str,
        gradient_accumulation_steps: int,
        *,
        compiled: bool | str = False,
        tuned: bool = True,
        timeout_seconds: float | None = None,
        parallel: str = "ddp",
        shard_processes: int | None = None,
    ) -> None:
        require_graphs(compiled, device)
        mixed: Literal["no", "bf16"]
        mixed, self.dtype = precision(precision_name)
        self.product_dtype = torch.bfloat16 if mixed == "bf16" else self.dtype
        if tuned:
            tune_for(device)
        self.accelerator = make_accelerator(
            device, mixed, gradient_accumulation_steps, compiled=bool(compiled), timeout_seconds=timeout_seconds
        )
        self.processes = meet(self.accelerator.process_index, self.accelerator.num_processes)
        self.device = self.accelerator.device
        processes = self.accelerator.num_processes
        self.signals = StopSignals(interrupts=processes == 1)
        group = shard_processes or processes_of_machine(otherwise=processes)
        self.mesh = make_mesh(parallel, self.device.type, processes, group)

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes."""
        return bool(self.accelerator.is_main_process)

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.processes.wait()
            self.accelerator.end_training()
        self.close()

    def close(self) -> None:
        """Give back what the processes hold."""
        self.accelerator.free_memory()
        if self.accelerator.num_processes == 1:
            # accelerate keeps one precision for the whole process; the next job of a sweep may want another.
            AcceleratorState._reset_state(reset_partial_state=True)


def open_session(config: DictConfig) -> Session:
    """The session that a run's config asks for; what `auto` stands for is written into the config.

    Raises:
        UserError: if there is no such device or precision, or the device is one of several GPUs.
    """
    trainer = config.trainer
    device = "cpu" if trainer.device == "auto" and wants_cpu() else pick_device(trainer.device, "trainer.device")
    if ":" in device:
        raise UserError(
            f"trainer.device={trainer.device}: each process takes a GPU of its own. To choose which there are: "
            "CUDA_VISIBLE_DEVICES=1 python -m aaa.train ..."
        )
    if device == "cpu" and trainer.device == "auto" and not wants_cpu() and (why := why_unused()) is not None:
        logger.warning("%s. trainer.device=cpu says that it is meant.", why)
    require_recording_device(trainer, device)
    trainer.precision = recorded_precision(config) or choose_precision(trainer.precision, torch.device(device))
    if torch.are_deterministic_algorithms_enabled() != trainer.deterministic:
        torch.use_deterministic_algorithms(trainer.deterministic)  # it imports the compiler
    return Session(
        device,
        trainer.precision,
        trainer.gradient_accumulation_steps,
        compiled=trainer.compile,
        timeout_seconds=trainer.collective_timeout_seconds,
        parallel=trainer.parallel,
        shard_processes=trainer.shard_processes,
    )
