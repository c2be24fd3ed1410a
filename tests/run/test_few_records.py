"""`data.max_records`: some records in place of all."""

from itertools import pairwise
from pathlib import Path

import pytest

from aaa.assembly.data import open_data
from aaa.assembly.few_records import FewRecords
from aaa.assembly.training_data import TrainingData
from aaa.data.mixed_cache import MixedCache
from aaa.data.shapes import ShapesSource
from tests.helpers.composed import checked

SHAPES = ["objective=velocity", "data.resolution=16"]


def opened(folder: Path, *overrides: str) -> TrainingData:
    return open_data(checked(*SHAPES, f"data.cache_dir={folder}", *overrides))


@pytest.mark.parametrize("most", [1, 7, 40, 48, 100])
def test_they_are_spread_evenly_over_all(most: int) -> None:
    source = ShapesSource(resolution=16, num_records=36, num_validation=12)
    few = FewRecords(source, most)
    keys = [few[index].key for index in range(len(few))]
    places = [next(place for place in range(48) if source[place].key == key) for key in keys]
    assert len(set(places)) == min(most, 48)
    assert places == sorted(places)
    assert max([after - before for before, after in pairwise(places)], default=0) <= -(-48 // most)
    if 7 <= most <= 48:
        held_out = sum(few[index].split == "validation" for index in range(len(few)))
        assert held_out == pytest.approx(len(few) / 4, abs=1)


def test_a_cache_of_them_is_another_and_gives_its_rows_to_that_of_all(tmp_path: Path) -> None:
    data = ["data.source.num_records=24", "data.source.num_validation=8"]
    few = opened(tmp_path, *data, "data.max_records=8").cache
    whole = opened(tmp_path, *data).cache
    assert (len(few), len(whole)) == (8, 32)
    assert few.path != whole.path
    assert few.path.is_dir()
    assert whole.folder.build["reused"] == 8


def test_of_a_mixture_it_is_said_of_each_part_or_for_all(tmp_path: Path) -> None:
    parts = ["data=mixture", "+data@data.parts.one=shapes", "+data@data.parts.other=shapes"]
    cache = opened(tmp_path, *parts, "data.max_records=6", "data.parts.other.max_records=9").cache
    assert isinstance(cache, MixedCache)
    assert {name: len(span) for name, span in cache.spans.items()} == {"one": 6, "other": 9}
