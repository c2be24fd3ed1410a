"""Further tensors of each record, beside the latents in their cache: made from these once, read by every later run."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from torch import Tensor

from aaa.data.cache import LatentCache
from aaa.data.tensor_files import save_tensors
from aaa.errors import reason
from aaa.tracking.console import display
from aaa.tracking.files import written_aside

logger = logging.getLogger(__name__)

BATCH_SIZE = 64
BATCH_BYTES = 2**26  # of the latents of a batch; of large pictures it has fewer
TENSOR = "extra"


def open_extra(cache: LatentCache, name: str, version: str, compute: Callable[[Tensor], Tensor]) -> None:
    """Let a cache hold another tensor of each record, computing what is not there yet.

    Of several processes one computes a shard while the others wait. Where it cannot be written, such as in a cache of
    others' that is there to be read, each computes it for itself.

    Args:
        cache: gathers it from now on, as one of its extras.
        name: of the extra.
        version: of what computes it; another has files of its own.
        compute: from latents as the cache gathers them, `B C H W` on the CPU, what is kept of each, `B ...`.
    """
    files = [
        home / "extras" / f"{name}-{version}-{shard:05d}.safetensors"
        for home, shards in cache.homes
        for shard in range(shards)
    ]
    tensors = [_read(file, count) for file, count in zip(files, cache.shard_sizes, strict=True)]
    if any(tensor is None for tensor in tensors):
        tensors = _complete(cache, name, files, compute)
    cache.add_extra(name, [tensor for tensor in tensors if tensor is not None])


def _complete(
    cache: LatentCache, name: str, files: Sequence[Path], compute: Callable[[Tensor], Tensor]
) -> list[Tensor | None]:
    """What each of an extra's files holds, once those that are not there or not whole are computed."""
    tensors: list[Tensor | None] = []
    unwritten = {}  # why, by folder
    with display(f"Computing {name}", len(cache)) as progress:
        done = 0
        for file, count in zip(files, cache.shard_sizes, strict=True):
            records, computed = range(done, done + count), None
            try:
                file.parent.mkdir(exist_ok=True)
                with FileLock(f"{file.parent.parent}.{name}.lock"):
                    if _read(file, count) is None:
                        computed = _computed(cache, records, compute)
                        _write(file, computed)
                    tensors.append(_read(file, count))
            except (OSError, SafetensorError) as error:
                unwritten[file.parent] = reason(error)
                tensors.append(_computed(cache, records, compute) if computed is None else computed)
            done += count
            progress.update(done)
    for folder, why in unwritten.items():
        logger.warning(
            "%s: cannot be written (%s). %s is held in memory, and computed again by the next run: make room there, or "
            "let the latent cache be elsewhere with data.cache_dir=FOLDER.",
            folder,
            why,
            name,
        )
    return tensors


def _computed(cache: LatentCache, records: range, compute: Callable[[Tensor], Tensor]) -> Tensor:
    parts = []
    channels, height, width = cache.shapes[int(cache.shape_ids[torch.tensor(records.start)])]
    batch_size = max(min(BATCH_SIZE, BATCH_BYTES // (4 * channels * height * width)), 1)
    with torch.no_grad():
        for indices in torch.tensor(records).split(batch_size):
            latents, _ = cache.read(indices)  # each once: none is to be remembered
            parts.append(compute(latents).to("cpu", torch.float16))
    return torch.cat(parts)


def _read(file: Path, count: int) -> Tensor | None:
    """What a file holds, by memory map; None if it is not there, or not whole."""
    if not file.is_file():
        return None
    try:
        tensor: Tensor = safe_open(file, "pt").get_tensor(TENSOR)
    except (OSError, SafetensorError) as error:
        logger.warning("%s is damaged (%s); it is computed again.", file, reason(error))
        return None
    return tensor if len(tensor) == count else None


def _write(file: Path, tensor: Tensor) -> None:
    with written_aside(file) as aside:
        save_tensors({TENSOR: tensor.contiguous()}, aside)
