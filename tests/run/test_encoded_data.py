"""Data that is a latent cache alone: opened as what it was encoded from would be, by what made it and nothing else."""

from pathlib import Path

import pytest
import torch

from aaa.assembly.data import open_data
from aaa.data.mixed_cache import MixedCache
from aaa.errors import UserError
from tests.helpers.composed import checked

SMALL = ["data.resolution=16", "data.source.num_records=20", "data.source.num_validation=6"]


@pytest.fixture
def encoded(tmp_path: Path) -> Path:
    return open_data(checked(*SMALL, f"data.cache_dir={tmp_path / 'caches'}")).cache.path


def test_it_is_split_and_validated_as_its_source_is(encoded: Path, tmp_path: Path) -> None:
    ours = open_data(checked(*SMALL, f"data.cache_dir={encoded.parent}"))
    for address in (str(encoded), f"file://{encoded}"):
        theirs = open_data(
            checked("data=cache", f"data.address={address}", "data.resolution=16", f"data.cache_dir={tmp_path / 'new'}")
        )
        assert ours.table is not None
        assert theirs.table is not None
        assert theirs.table.digest == ours.table.digest
        for split in ("train", "validation"):
            assert torch.equal(theirs.records[split], ours.records[split])
        assert theirs.cache.fingerprint == ours.cache.fingerprint
    assert not [*(tmp_path / "new").glob("shapes-*")]  # nothing was encoded


def test_it_may_be_part_of_a_mixture(encoded: Path) -> None:
    config = checked(
        *(
            "data=mixture",
            "+data@data.parts.old=cache",
            "+data@data.parts.new=shapes",
            f"data.cache_dir={encoded.parent}",
        ),
        *(f"data.parts.old.address=file://{encoded}", "data.resolution=16", "data.parts.new.source.num_records=8"),
        *("data.parts.new.source.num_validation=2",),
    )
    data = open_data(config)
    assert isinstance(data.cache, MixedCache)
    assert not data.cache.is_here
    assert len(data.cache) == 36
    assert data.cache.gather(torch.tensor([0, 30]))[0].shape == (2, 192, 2, 2)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.resolution=32"], r"data\.resolution=32: the cache at data\.address=.* has data\.resolution=16"),
        (["encoder.max_prompt_tokens=8"], r"encoder\.text_encoder\.max_length=8: the cache at .*max_length=16"),
        (["encoder.downscale_factor=4"], r"encoder\.vae\.downscale_factor=4: the cache at"),
        (["data.address=/nowhere"], r"data\.address=/nowhere: no latent cache, which has an index\.json"),
        (["data.horizontal_flip=true"], r"data\.horizontal_flip=True: the cache at data\.address is encoded already"),
        (["data.local_cache_gib=0"], r"data\.local_cache_gib=0\.0: must be above 0"),
        (["data.cache_dir=s3://bucket"], r"data\.cache_dir=s3://bucket: .* data=cache data\.address=ADDRESS"),
    ],
)
def test_what_does_not_go_with_it_is_refused(encoded: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_data(checked("data=cache", f"data.address={encoded}", "data.resolution=16", *overrides))
