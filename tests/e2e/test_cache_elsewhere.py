"""Training from a cache that is encoded already, without its pictures, as a user types it."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.e2e.conftest import Command

FORKED = True
RUN = [
    *("data.resolution=16", "model.dim=32", "model.depth=1", "model.heads=2", "trainer.batch_size=8", "logger=none"),
    *("trainer.max_steps=8", "trainer.save_every_steps=4", "trainer.validate_every_steps=4", "evaluation=none"),
    *("trainer.sample_every_steps=8", "trainer.precision=float32", "sampling.steps=2", "sampling.num_images=4"),
]
SHAPES = ["data.source.num_records=60", "data.source.num_validation=8"]


def same_weights(*runs: Path) -> bool:
    first, *others = (load_file(run / "checkpoints" / "step-00000008" / "model.safetensors") for run in runs)
    return all(torch.equal(first[name], other[name]) for other in others for name in first)


@pytest.mark.slow
def test_a_cache_elsewhere_trains_the_same_model_and_is_resumed(command: Command, tmp_path: Path) -> None:
    assert command("aaa.train", *RUN, *SHAPES, "hydra.run.dir=shapes").code == 0
    (cache,) = tmp_path.glob(".cache/aaa/shapes-*/")
    cache = cache.rename(tmp_path / "moved")
    (tmp_path / ".cache").rename(tmp_path / "gone")
    for address, run in ((f"file://{cache}", "fetched"), (str(cache), "in-place")):
        done = command("aaa.train", *RUN, "data=cache", f"data.address={address}", f"hydra.run.dir={run}")
        assert done.code == 0, done.err
        assert "Encoding" not in done.err
    again = command("aaa.train", "repeat=fetched/checkpoints/step-00000004", "hydra.run.dir=again")
    assert again.code == 0, again.err
    assert same_weights(*(tmp_path / run for run in ("shapes", "fetched", "in-place", "again")))
    other = command("aaa.train", *RUN, "data=cache", f"data.address={cache}", "data.resolution=32")
    assert "data.resolution=32: the cache at data.address=" in other.error
    other = command("aaa.train", *RUN, "data=cache", f"data.address={cache}", "encoder.max_prompt_tokens=8")
    assert "encoder.text_encoder.max_length=8: the cache at" in other.error
    assert "has no value yet" in command("aaa.train", *RUN, "data=cache").error
    assert "no latent cache" in command("aaa.train", *RUN, "data=cache", f"data.address={tmp_path}").error
    assert "is encoded already" in command("aaa.encode", "data=cache", f"data.address={cache}").error
    refused = command("aaa.train", *RUN, "data.cache_dir=s3://bucket/caches")
    assert "data.cache_dir=s3://bucket/caches: pictures are encoded into a local folder" in refused.error
