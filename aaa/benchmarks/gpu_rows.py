"""What is measured of a GPU, a function a row: the device by itself, attention, a model's steps, what feeds it."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from torch.nn.attention import SDPBackend, sdpa_kernel

from aaa.benchmarks.gpu_card import RECORDED, Row
from aaa.benchmarks.idle import busy_seconds
from aaa.benchmarks.kernels import kernel_rows, kernels_of
from aaa.benchmarks.speed import describe_compiling, parts_of_step
from aaa.benchmarks.subject import Subject, make_subject, quiet_tracker
from aaa.data.cache import LatentCache
from aaa.data.cache_writer import CacheWriter
from aaa.data.cached_records import CachedRecord
from aaa.run.latent_loader import LatentLoader, hold_near
from aaa.tracking.tracker import NoLogger
from aaa.training.fitting import USED_SHARE
from aaa.training.memory import available_memory, peak_memory_gib, reset_peak_memory
from aaa.training.progress import Progress
from aaa.training.timing import matmul_rate, seconds

WARM_UP_STEPS = 4  # compiling, then recording and playing a CUDA graph
PROFILED_STEPS = 5
REPEATS = 5


def device_rows(device: torch.device, nbytes: int) -> list[Row]:
    """What the device does by itself: products of matrices, copies of so many bytes, tiny kernels."""
    rows: list[Row] = [
        {"what": f"products of {name} matrices", "TFLOP/s": matmul_rate(device, dtype) / 1e12}
        for name, dtype in (("bf16", torch.bfloat16), ("float32", torch.float32))
    ]
    here, pageable = torch.zeros(nbytes // 4, device=device), torch.zeros(nbytes // 4)
    copies = {"copy within its memory": (here.clone(), 2 * nbytes), "copy from the CPU, pageable": (pageable, nbytes)}
    if device.type == "cuda":
        copies["copy from the CPU, page-locked"] = (pageable.pin_memory(), nbytes)
    for what, (source, moved) in copies.items():
        copy = partial(here.copy_, source, non_blocking=True)
        rows.append({"what": what, "GB/s": moved / min(seconds(copy, device) for _ in range(REPEATS)) / 1e9})
    one, count = torch.zeros(1, device=device), 1000
    launching = min(seconds(lambda: [one.add_(1) for _ in range(count)], device) for _ in range(REPEATS))
    return [*rows, {"what": "a tiny kernel, one after the other", "us": 1e6 * launching / count}]


def attention_rows(config: DictConfig, device: torch.device, batch: int, prompt_tokens: int) -> list[Row]:
    """Forward and backward of attention in bf16 by each of torch's routines, and which of them is chosen."""
    side = config.data.resolution // config.encoder.downscale_factor
    tokens, heads = side**2 + min(prompt_tokens, config.encoder.max_prompt_tokens), config.model.heads
    shape = (batch, heads, tokens, config.model.dim // heads)
    q, k, v = (torch.randn(shape, device=device, dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
    # As torch's own tests ask it; there is no public name for it.
    chosen = SDPBackend(torch._fused_sdp_choice(q, k, v))

    def both(backend: SDPBackend) -> None:
        with sdpa_kernel(backend):
            F.scaled_dot_product_attention(q, k, v).sum().backward()

    rows: list[Row] = []
    for backend in routines():
        row: Row = {"routine": backend.name.lower(), "chosen": backend == chosen}
        try:
            both(backend)
            row["ms"] = 1000 * median(seconds(partial(both, backend), device) for _ in range(REPEATS))
        except RuntimeError as error:  # not for this device, dtype or shape; running out of memory is one too
            row["note"] = (str(error).splitlines() or [""])[0]
        rows.append(row)
    return rows


def routines() -> list[SDPBackend]:
    """Those that torch has for attention."""
    return [getattr(SDPBackend, name) for name in ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION", "MATH")]


@contextmanager
def opened(config: DictConfig, device: str, *, compiled: bool | str, prompt_tokens: int) -> Iterator[Subject]:
    """A subject that is closed again, and forgotten by torch's compiler."""
    tokens = min(prompt_tokens, config.encoder.max_prompt_tokens)
    subject = make_subject(config, device, precision=config.trainer.precision, compiled=compiled, prompt_tokens=tokens)
    try:
        yield subject
    finally:
        subject.close()
        if compiled:
            torch.compiler.reset()


def fitting_batch(subject: Subject, most: int) -> int:
    """The largest power of two of samples, up to `most`, that `trainer.batch_size=auto` would take; 0: not one fits."""
    return min(subject.footprint().largest(USED_SHARE * available_memory(subject.session.device)), most)


def step_row(subject: Subject, config: DictConfig, batch: int, how: bool | str, lasting: float, peak: float) -> Row:
    """Steps by the trainer's own loop: how fast, what share of the time the device rests, what memory they take.

    Args:
        subject: takes them.
        config: of the trainer.
        batch: samples of a step.
        how: the subject was compiled.
        lasting: seconds to measure for.
        peak: floating-point operations a second of the device, in the subject's precision.
    """
    device = subject.accelerator.device
    progress = Progress()

    def train(steps: int) -> None:
        subject.train(config, progress, progress.step + steps, batch, NoLogger().log)

    reset_peak_memory(device)
    warming_up = seconds(partial(train, WARM_UP_STEPS), device)
    train(1)  # the last step of each call measures norms: the second such step is recorded
    steps = max(3, min(1000, int(lasting / seconds(partial(train, 1), device))))
    step = seconds(partial(train, steps), device) / steps
    busy = busy_seconds(partial(train, PROFILED_STEPS), device) / PROFILED_STEPS
    return {
        "compiled": describe_compiling(how) + (RECORDED if config.trainer.cuda_graph else ""),
        "batch": batch,
        "images/s": batch / step,
        "step ms": 1000 * step,
        "MFU": batch * subject.flops / step / peak,
        "idle": max(0.0, 1 - busy / step),
        "peak GiB": peak_memory_gib(device, recorded=config.trainer.cuda_graph),
        "first steps s": warming_up,
    }


def kernels_of_step(subject: Subject, batch: int, most: int) -> list[Row]:
    """What a step is made of, by kinds of kernels, and the kernels that take longest, so many of them."""

    def steps(count: int, first: int = 0) -> None:
        for number in range(first, first + count):
            subject.bare_step(batch, number)

    steps(WARM_UP_STEPS)
    kernels = kernels_of(partial(steps, PROFILED_STEPS, WARM_UP_STEPS), subject.accelerator.device)
    return kernel_rows(kernels, PROFILED_STEPS, most)


def part_columns(subject: Subject, batch: int) -> Row:
    """Milliseconds of the parts of a step, the device being waited for after each."""
    with quiet_tracker() as tracker:
        parts = [parts_of_step(subject, tracker, batch, number) for number in range(1 + REPEATS)][1:]
    return {f"{name} ms": 1000 * median(part[name] for part in parts) for name in ("optimizer", "EMA")}


def fed_from_cache(subject: Subject, config: DictConfig, folder: Path, batch: int, *, near: bool) -> LatentLoader:
    """Let a subject train on a latent cache, written here, in place of tensors that are there already.

    Args:
        subject: is changed.
        config: says what latents there are.
        folder: to write it in.
        batch: samples of a step.
        near: hold it in the device's memory, else read ahead.
    """
    whole = subject.batches(range(2 * batch))
    latents, prompt_embeds = whole.latents, whole.prompt_embeds
    folder.mkdir()
    writer = CacheWriter(folder, torch.bfloat16, "bench")
    writer.write_empty_prompt(prompt_embeds[:1].cpu(), tokens=prompt_embeds.shape[1])
    count = len(latents)
    records = [CachedRecord(f"{index:08d}", [f"picture {index}"], None) for index in range(count)]
    tokens, contents = [prompt_embeds.shape[1]] * count, [bytes(16)] * count
    writer.write(records, latents.cpu(), prompt_embeds.cpu(), tokens, contents)
    writer.close(fingerprint="bench")
    cache, device = LatentCache(folder), subject.accelerator.device
    for name, extra in whole.extras.items():
        cache.add_extra(name, extra.cpu().split(cache.shard_sizes))
    if near:
        hold_near(cache, device)
    loader = LatentLoader(cache, torch.arange(count), batch, 1, int(config.seed), device)
    subject.batches = loader.batches
    return loader
