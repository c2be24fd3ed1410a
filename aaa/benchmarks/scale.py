"""What training takes on more GPUs and more pictures than are here: computed from what one GPU does; nothing is run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from aaa.assembly.parts import model_without_weights
from aaa.benchmarks.counts import Amount, Count, LargeCount, Share
from aaa.benchmarks.report import Report
from aaa.config.live_prompts import KEY, embeds_while_training
from aaa.models.costs import TRAINING_FLOPS, count_parameters, forward_flops
from aaa.run.budget import keep_to_parameters

# Bytes a weight that AdamW trains in float32 under bf16 autocast: weight, gradient, two moments, average of weights.
STATE = 4 + 4 + 8 + 4
AUTOCAST = 2  # and the copy in bf16 that products are taken of
# Bytes that a block keeps for its backward pass, for each token and unit of width: measured, see docs/scale.md.
KEPT, KEPT_RECOMPUTED = 37, 2
RECOMPUTED = 4 / 3  # FLOPs of a step that takes the forward pass of each block twice
USED_SHARE = 0.85  # of the memory; the rest is what an allocator cannot hand out again
DAY = 86_400
# What hides behind computing: gradients behind the backward pass alone, gathered weights behind either.
HIDDEN = {"ddp": 2 / 3, "fsdp": 1.0, "hsdp": 1.0}


@dataclass(frozen=True)
class Hardware:
    """GPUs of one kind in machines of one kind.

    Attributes:
        flops: bf16 products a second that the datasheet says.
        efficiency: share of them that a step reaches where nothing is waited for.
        memory: of a GPU, bytes.
        per_machine: GPUs of a machine.
        link: between GPUs of a machine, bytes a second a GPU and direction.
        network: between machines, likewise.
        storage: read or written by all together, bytes a second.
        encoded: pictures a second a GPU.
    """

    flops: Amount
    efficiency: Share
    memory: Amount
    per_machine: Count
    link: Amount
    network: Amount
    storage: Amount
    encoded: Amount


@dataclass(frozen=True)
class Work:
    """What is trained.

    Attributes:
        parameters: of the model.
        flops: of a sample, forward and backward.
        tokens, width, depth: of the model, a sample.
        batch_size: of a step, over all GPUs.
        picture_bytes: of one in the latent cache, with its prompt where that is kept there.
    """

    parameters: int
    flops: float
    tokens: int
    width: int
    depth: int
    batch_size: int
    picture_bytes: int


def state_bytes(work: Work, way: str, gpus: int, hardware: Hardware) -> float:
    """Of weights, gradients, optimizer and average that a GPU holds; a sharded model has two blocks whole at a time."""
    if way == "ddp":
        return work.parameters * (STATE + AUTOCAST)
    shards = min(gpus, hardware.per_machine) if way == "hsdp" else gpus
    return work.parameters * (STATE / shards + 2 * (AUTOCAST + 4) / work.depth)


def sample_bytes(work: Work, *, recomputed: bool) -> float:
    """Of a sample, kept from forward to backward pass."""
    kept = work.tokens * work.width * (KEPT_RECOMPUTED if recomputed else KEPT) * work.depth
    return kept + work.tokens * work.width * KEPT if recomputed else kept


def network_seconds(work: Work, way: str, gpus: int, micro_batches: int, hardware: Hardware) -> float:
    """Of what GPUs tell each other in a step: gradients in float32, sharded weights in bf16 for each pass.

    A ring of n passes (n - 1) / n of the bytes to gather or to reduce and scatter them, and twice that to do both.
    """
    within, machines = min(gpus, hardware.per_machine), -(-gpus // hardware.per_machine)

    def ring(size: float, count: int, rate: float) -> float:
        return size * (count - 1) / count / rate

    between = hardware.network if machines > 1 else hardware.link
    gathered, gradients = 2 * AUTOCAST * work.parameters * micro_batches, 4 * work.parameters
    if way == "ddp":
        return ring(2 * gradients, gpus, between)
    if way == "fsdp":
        return ring(gathered + gradients, gpus, between)
    return ring(gathered + gradients, within, hardware.link) + ring(2 * gradients / within, machines, hardware.network)


@dataclass(frozen=True)
class Step:
    """How a step is taken.

    Attributes:
        way: the model is shared out, of `HIDDEN`.
        recomputed: whether activations are.
        at_once: samples of a GPU.
        micro_batches: of a GPU.
        memory: of a GPU, bytes.
        compute, network: seconds, which overlap as far as `HIDDEN` says.
    """

    way: str
    recomputed: bool
    at_once: int
    micro_batches: int
    memory: float
    compute: float
    network: float

    @property
    def seconds(self) -> float:
        """Of the whole step."""
        return self.compute + max(0.0, self.network - HIDDEN[self.way] * self.compute)


def fastest_step(work: Work, gpus: int, hardware: Hardware) -> Step | None:
    """Of all ways that fit into memory; the simplest of equally fast ones; None if none fits."""
    share = max(1, -(-work.batch_size // gpus))
    steps = []
    for recomputed in (False, True):
        for way in HIDDEN:
            free = USED_SHARE * hardware.memory - state_bytes(work, way, gpus, hardware)
            per_sample = sample_bytes(work, recomputed=recomputed)
            at_once = min(share, int(free // per_sample))
            if at_once < 1:
                continue
            parts = -(-share // at_once)
            compute = share * work.flops * (RECOMPUTED if recomputed else 1) / (hardware.flops * hardware.efficiency)
            memory = USED_SHARE * hardware.memory - free + at_once * per_sample
            network = network_seconds(work, way, gpus, parts, hardware)
            steps.append(Step(way, recomputed, at_once, parts, memory, compute, network))
    return min(steps, key=lambda step: step.seconds, default=None)


class Scale:
    """A row for each number of GPUs and of pictures.

    Args:
        gpus: how many.
        pictures: how many.
        hardware: that there is.
    """

    def __init__(self, gpus: Sequence[Count], pictures: Sequence[LargeCount], hardware: Hardware) -> None:
        self.gpus, self.pictures, self.hardware = gpus, pictures, hardware

    def run(self, config: DictConfig, device: str) -> Report:
        """Compute; no device is used."""
        del device
        work = work_of(config)
        rows = [self._row(work, gpus, pictures) for gpus in self.gpus for pictures in self.pictures]
        notes = [
            *([f"{KEY}=false: what the text encoder takes is not in it"] if embeds_while_training(config) else []),
            f"{work.parameters:,} parameters, {work.flops:.3g} FLOPs a sample of {work.tokens} tokens, "
            f"{work.batch_size} samples a step, {work.picture_bytes:,} bytes a picture in the cache",
            "a pass: days to train once on each picture; what each column is computed from: docs/scale.md",
        ]
        return Report(f"{config.model.name}: past this machine", rows, ("GPUs", "images/s"), notes)

    def _row(self, work: Work, gpus: int, pictures: float) -> dict[str, Any]:
        here = self.hardware
        row: dict[str, Any] = {"GPUs": gpus, "pictures": pictures}
        step = fastest_step(work, gpus, here)
        if step is None:
            return row | {"limit": "memory"}
        reading = work.batch_size * work.picture_bytes / here.storage  # beside the step, for the next one
        rate = work.batch_size / max(step.seconds, reading)
        computed = "network" if step.network > step.compute else "compute"
        return row | {
            "way": step.way + (", recomputed" if step.recomputed else ""),
            "at once": f"{step.micro_batches} x {step.at_once}",
            "GiB": step.memory / 2**30,
            "compute s": step.compute,
            "network s": step.network,
            "images/s": rate,
            "read GB/s": rate * work.picture_bytes / 1e9,
            "a pass, days": pictures / rate / DAY,
            "encoding, days": pictures / (here.encoded * gpus) / DAY,
            "cache TB": pictures * work.picture_bytes / 1e12,
            "checkpoint s": (STATE - 4) * work.parameters / here.storage,
            "limit": "storage" if reading > step.seconds else computed,
        }


def work_of(config: DictConfig) -> Work:
    """What a run's config trains, its model without weights, its prompts as long as they can be."""
    keep_to_parameters(config)
    model, encoder = model_without_weights(config), config.encoder
    side, words = config.data.resolution // encoder.downscale_factor, encoder.max_prompt_tokens
    channels, text_dim = config.model.in_channels, config.model.text_dim
    flops = TRAINING_FLOPS * forward_flops(model, side, side, words, channels=channels, text_dim=text_dim)
    size = 4 if encoder.storage_dtype == "float32" else 2
    cached_words = 0 if embeds_while_training(config) else words
    return Work(
        parameters=count_parameters(model),
        flops=flops,
        tokens=side**2 + words,
        width=config.model.dim,
        depth=config.model.depth,
        batch_size=config.trainer.batch_size,
        picture_bytes=size * (channels * side**2 + cached_words * text_dim),
    )
