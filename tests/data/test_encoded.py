"""A cache that is encoded already goes with the encoders that made it, wherever their files lie."""

import shutil
from pathlib import Path

import pytest

from aaa.assembly.data import open_data
from aaa.config.checks import check_config
from aaa.data.cache import LatentCache
from aaa.errors import UserError
from tests.encoders.test_huggingface import WIDTH, make_model
from tests.helpers.composed import compose


def opened(model: Path, *overrides: str) -> LatentCache:
    text = ["text_encoder=huggingface", f"encoder.text_encoder.path={model}", f"encoder.prompt_dim={WIDTH}"]
    config = compose(*overrides, *text, "data.resolution=16")
    check_config(config)
    return open_data(config).cache


def test_the_text_model_is_the_one_that_made_the_prompts(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", "bert")
    small = ["data.source.num_records=4", "data.source.num_validation=2", f"data.cache_dir={tmp_path / 'caches'}"]
    cache = opened(model, *small)
    there = ["data=cache", f"data.address={cache.path}", f"data.cache_dir={tmp_path / 'caches'}"]
    copy = shutil.copytree(model, tmp_path / "copy")
    assert len(opened(copy, *there)) == len(cache)
    assert len(opened(tmp_path / "nowhere", *there)) == len(cache)
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(UserError, match=rf"^{weights}: the cache at .* other weights, whose prompts these embed"):
        opened(copy, *there)
