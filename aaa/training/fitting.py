"""Whether a batch fits into memory, told from what one sample keeps for its backward pass before any step is taken."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.optim import Optimizer

from aaa.errors import UserError
from aaa.training.memory import available_memory, held_memory
from aaa.training.optimizers import state_to_come
from aaa.training.sharding import gathered_bytes, give_back_gathered, is_sharded, local, local_bytes

# Gradients on their way through a block, and what an allocator cannot hand out again, come on top of what is kept.
SLACK = 1.15
# `auto` leaves this share of the memory to other programs and to steps that need a little more.
USED_SHARE = 0.85
MOST_SAMPLES = 1024  # of a micro-batch: more make no device faster, and few trainings better
GIB = 2**30
TRIED = (1, 2, 4)  # samples, to see what each takes


@dataclass(frozen=True)
class Footprint:
    """What training holds, in bytes.

    Attributes:
        fixed: whatever the batch: what is held now, gradients, optimizer state.
        per_sample: of a batch, from forward to backward pass.
    """

    fixed: int
    per_sample: int

    def of(self, batch_size: int) -> int:
        """Bytes of a step of so many samples."""
        return self.fixed + round(SLACK * self.per_sample * batch_size)

    def recorded(self) -> "Footprint":
        """Of steps that are CUDA graphs, whose memory is kept beside that of steps that are taken as they are."""
        return replace(self, per_sample=2 * self.per_sample)

    def largest(self, available: float) -> int:
        """The biggest power of two that fits; 0 if not even one sample does."""
        samples = (available - self.fixed) / (SLACK * self.per_sample)
        return 1 << (int(samples).bit_length() - 1) if samples >= 1 else 0


def measure_footprint(
    forward: Callable[[int], Tensor],
    model: nn.Module,
    device: torch.device,
    most: int = TRIED[-1],
    *,
    in_buckets: bool = False,
    optimizer: Optimizer | None = None,
) -> Footprint:
    """Run batches of one, two and four samples forward, and count what they keep for the backward pass.

    Args:
        forward: of so many samples.
        model: what is trained.
        device: of the model.
        most: samples that a batch is to have at most; more are not tried.
        in_buckets: whether DDP is to average gradients over processes, and has still to make its copy of them.
        optimizer: which has still to make what it keeps: of each weight two moments, as nearly all do, or more.

    Raises:
        UserError: if a GPU has no room for the first of these.
    """
    weights = local_bytes(parameter for parameter in model.parameters() if parameter.requires_grad)
    kept = {samples: _kept_on(device, forward, samples, model) for samples in TRIED if samples <= max(most, 1)}
    give_back_gathered(model)
    # `attend` keeps less of a sample in a big batch than in a small one: where it changes its way, one step misleads.
    steps = [(kept[more] - kept[fewer]) // (more - fewer) for fewer, more in pairwise(kept)] or [kept[1]]
    per_sample = max(1, *steps)
    largest = max(kept)
    rest = max(0, kept[largest] - largest * per_sample)
    gradients = (2 if in_buckets else 1) * weights
    state = max(2 * weights, 0 if optimizer is None else state_to_come(optimizer, of=local))
    return Footprint(held_memory(device) + gradients + state + rest + gathered_bytes(model), per_sample)


def largest_batch(footprint: Footprint, processes: int, accumulation: int, most: int, device: torch.device) -> int:
    """What `trainer.batch_size=auto` stands for: as many samples as fit and leave some memory free.

    Args:
        footprint: of training on this device.
        processes: that share a batch.
        accumulation: micro-batches that share what a process has of it.
        most: samples at most, e.g. as many as there are.
        device: that holds one micro-batch.

    Returns:
        A power of two times `processes * accumulation`.

    Raises:
        UserError: if not even one sample fits.
    """
    parts = processes * accumulation
    largest = footprint.largest(USED_SHARE * available_memory(device))
    if not largest:
        require_fit(footprint, parts, processes, accumulation, device)
    records = max(1, most // parts)
    return parts * min(largest or 1, 1 << (records.bit_length() - 1), MOST_SAMPLES)


def require_fit(footprint: Footprint, batch_size: int, processes: int, accumulation: int, device: torch.device) -> None:
    """Refuse a batch that the memory cannot hold, before the system kills the run for it.

    Raises:
        UserError: with the largest batch that fits, and how to take this one in parts.
    """
    parts = processes * accumulation
    share, available = max(1, batch_size // parts), available_memory(device)
    if (needed := footprint.of(share)) <= available:
        return
    largest = footprint.largest(USED_SHARE * available)
    if largest:
        times = next(n for n in range(-(-share // largest), share + 1) if share % n == 0)
        advice = (
            f"The largest that fits is trainer.batch_size={largest * parts}. The same steps in smaller parts: "
            f"trainer.gradient_accumulation_steps={times * accumulation}."
        )
    else:
        advice = "Not even one sample fits: trainer.gradient_checkpointing=true, or a smaller model, needs less."
    raise UserError(
        f"trainer.batch_size={batch_size} does not fit: a step would need about {needed / GIB:.1f} GiB, and "
        f"{device.type} has {available / GIB:.1f}. {advice}"
    )


def _kept_on(device: torch.device, forward: Callable[[int], Tensor], samples: int, model: nn.Module) -> int:
    try:
        return _kept(forward, samples, model)
    except torch.OutOfMemoryError:
        raise UserError(
            f"{device.type} has no room for {samples} sample{'s' if samples > 1 else ''} of this model: "
            "trainer.gradient_checkpointing=true, or a smaller model, needs less."
        ) from None


def _kept(forward: Callable[[int], Tensor], samples: int, model: nn.Module) -> int:
    """Bytes of the tensors that autograd keeps of a forward pass, each storage once, weights left out."""
    weights, divided = _addresses(model), is_sharded(model)
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        address = _address(tensor)
        # Blocks of a divided model have their weights only while they are run.
        if address not in (_addresses(model) if divided else weights):
            kept[address] = tensor.untyped_storage().nbytes()
        return tensor.detach()  # the tensor itself holds the graph that would hold it, and nothing would free the two

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = forward(samples)
    assert loss.requires_grad  # which also keeps the graph, and so every address, until here
    return sum(kept.values())


def _addresses(model: nn.Module) -> set[int]:
    return {_address(local(parameter)) for parameter in model.parameters()}


def _address(tensor: Tensor) -> int:
    """Of a tensor's storage, or of what stands for it where there are shapes and no numbers."""
    storage = tensor.untyped_storage()
    return storage._cdata if isinstance(tensor, FakeTensor) else storage.data_ptr()
