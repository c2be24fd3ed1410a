"""Batches whose prompts are embedded when they are asked for, by the device that is about to train on them.

`encoder.cache_prompts=false`.
"""

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from aaa.data.batch import Batch


class EmbeddedBatches:
    """Wraps a function of positions in the data order that gives batches without embeddings.

    It is called by the thread that trains: another one, reading ahead, would have the device do two things at once.

    Args:
        batches: the samples at these positions, prompt_embeds without width.
        prompts_at: their prompts.
        embed: prompts to `B L D`.
        device: that embeds.
    """

    def __init__(
        self,
        batches: Callable[[range], Batch],
        prompts_at: Callable[[range], Sequence[str]],
        embed: Callable[[Sequence[str]], Tensor],
        device: torch.device,
    ) -> None:
        self._batches, self._prompts_at, self._embed, self._device = batches, prompts_at, embed, device
        self._count, self._seconds = 0, 0.0
        self._running: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def __call__(self, positions: range) -> Batch:
        """The samples at these positions."""
        batch = self._batches(positions)
        prompts = self._prompts_at(positions)
        self._count += 1
        if self._device.type == "cuda":
            return batch._replace(prompt_embeds=self._timed_on_gpu(prompts))
        began = time.perf_counter()
        prompt_embeds = self._embed(prompts)
        self._seconds += time.perf_counter() - began
        return batch._replace(prompt_embeds=prompt_embeds)

    def seconds_of_batch(self) -> float:
        """Mean time that the device took for the prompts of a batch since this was last asked for; 0 of none."""
        self._read_clocks(wait=True)
        mean = self._seconds / max(self._count, 1)
        self._count, self._seconds = 0, 0.0
        return mean

    def _timed_on_gpu(self, prompts: Sequence[str]) -> Tensor:
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record()
        prompt_embeds = self._embed(prompts)
        ended.record()
        self._running.append((began, ended))
        self._read_clocks(wait=False)
        return prompt_embeds

    def _read_clocks(self, *, wait: bool) -> None:
        """Add up what is done; the CPU goes on ahead of a GPU, and waits for it where it is to."""
        while self._running and (wait or self._running[0][1].query()):
            began, ended = self._running.pop(0)
            ended.synchronize()
            self._seconds += began.elapsed_time(ended) / 1000
