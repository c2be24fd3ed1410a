"""Prompts are embedded by the thread that trains, whoever reads the latents ahead."""

import threading
from collections.abc import Sequence

import torch
from torch import Tensor

from aaa.data.batch import Batch
from aaa.data.prefetch import Prefetch
from aaa.run.embedded_batches import EmbeddedBatches


def test_latents_are_read_ahead_and_prompts_embedded_when_their_step_comes() -> None:
    read, embedded = [], []
    ahead = threading.Event()

    def latents(positions: range) -> Batch:
        read.append(threading.get_ident())
        if len(read) == 2:
            ahead.set()
        return Batch.of_strangers(torch.tensor(positions).float(), torch.empty(len(positions), 3, 0))

    def embed(prompts: Sequence[str]) -> Tensor:
        embedded.append(threading.get_ident())
        return torch.tensor([[[float(prompt)]] for prompt in prompts])

    prefetch = Prefetch(latents, 4, pin=False)
    batches = EmbeddedBatches(prefetch, lambda positions: [*map(str, positions)], embed, torch.device("cpu"))
    for start in (0, 4, 40):
        positions = range(start, start + 4)
        batch = batches(positions)
        assert batch.prompt_embeds.flatten().tolist() == batch.latents.tolist() == [*positions]
        assert ahead.wait(timeout=30)
    prefetch.close()
    assert threading.get_ident() not in read
    assert embedded == [threading.get_ident()] * 3
