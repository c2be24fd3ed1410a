"""The latent cache: pictures a second of building one, whether its cost is linear, and how fast it opens and reads."""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from aaa.benchmarks.commands import measure, typed
from aaa.benchmarks.counts import Count
from aaa.benchmarks.report import Report
from aaa.data.cache import LatentCache
from aaa.data.cache_writer import CacheWriter
from aaa.data.cached_records import CachedRecord
from aaa.training.timing import seconds

BATCH = 1000
READ_BATCH = 64


class Encode:
    """Builds caches of the built-in data with `aaa.encode`, and opens a big one of small latents.

    Args:
        records: how many to encode, several times over.
        opened_records: of the cache that is opened.
    """

    def __init__(self, records: Sequence[Count], opened_records: Count) -> None:
        self.records, self.opened_records = records, opened_records

    def run(self, config: DictConfig, device: str) -> Report:  # noqa: ARG002
        """Measure."""
        rows: list[dict[str, Any]] = []
        with tempfile.TemporaryDirectory() as folder:
            for count in self.records:
                own = Path(folder) / str(count)
                arguments = [*typed(), f"data.source.num_records={count}", "data.source.num_validation=1"]
                measured = measure(own, "-m", "aaa.encode", *arguments, f"data.cache_dir={own}")
                rate = re.findall(r"pictures/s ([\d.e+]+)", measured.output)[-1]
                rows.append(
                    {
                        "what": f"build, {config.encoder.name}",
                        "records": count,
                        "seconds": measured.seconds,
                        "pictures/s": float(rate),
                        "peak GiB": measured.peak_gib,
                    }
                )
            path = Path(folder) / "big"
            _write_small_latents(path, self.opened_records)
            opened: list[LatentCache] = []
            taken = seconds(lambda: opened.append(LatentCache(path)), torch.device("cpu"))
            rows.append({"what": "open", "records": self.opened_records, "seconds": taken})
            draws = torch.Generator().manual_seed(0)
            batches = torch.randint(self.opened_records, (200, READ_BATCH), generator=draws)
            reading = seconds(lambda: [opened[0].gather(batch) for batch in batches], torch.device("cpu"))
            rows.append(
                {
                    "what": f"read at random, {READ_BATCH} at a time",
                    "records": self.opened_records,
                    "seconds": reading,
                    "pictures/s": batches.numel() / reading,
                }
            )
        return Report("The latent cache", rows, ("records", "seconds"))


def _write_small_latents(path: Path, count: int) -> None:
    path.mkdir()
    writer = CacheWriter(path, torch.float16, "bench")
    writer.write_empty_prompt(torch.zeros(1, 2, 8), tokens=0)
    latents, prompt_embeds = torch.randn(BATCH, 4, 4, 4), torch.randn(BATCH, 2, 8)
    for start in range(0, count, BATCH):
        indices = range(start, min(start + BATCH, count))
        number = len(indices)
        records = [CachedRecord(f"{index:08d}", [f"picture {index}"], None) for index in indices]
        writer.write(records, latents[:number], prompt_embeds[:number], [2] * number, [bytes(16)] * number)
    writer.close(fingerprint="bench")
