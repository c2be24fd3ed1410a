"""A latent cache as versions before Arrow wrote it."""

import json
from dataclasses import asdict
from pathlib import Path

from aaa.data.cache import LatentCache
from aaa.data.cache_folder import EARLIER_RECORDS, INDEX


def as_earlier_version(path: Path) -> None:
    """Rewrite a cache's index, record for record, with what these versions kept."""
    records = list(LatentCache(path).records)
    (path / EARLIER_RECORDS).write_text("".join(json.dumps(asdict(record)) + "\n" for record in records))
    index = json.loads((path / INDEX).read_text())
    for name in index.pop("records"):
        (path / name).unlink()
    del index["most_prompts"], index["placed"]
    (path / INDEX).write_text(json.dumps(index, indent=2))
