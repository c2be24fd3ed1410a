"""A cache of more records than anybody lists: an index that is mapped, a split and an order by formula."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aaa.assembly.training_data import TrainingData
from aaa.data import cache_writer
from aaa.data.cache import LatentCache
from aaa.data.cache_writer import CacheWriter
from aaa.data.cached_records import ArrowRecords, CachedRecord, RecordRows, as_batch, key_hash
from aaa.data.large_split import LargeSplit, first_of_pictures
from aaa.data.picture_places import PlacedRecords
from aaa.data.records import Split
from aaa.encoders.pixel import PixelVAE
from aaa.errors import UserError
from aaa.evaluation.validation import validation_table
from aaa.run.latent_loader import LatentLoader
from tests.helpers.earlier_cache import as_earlier_version

RECORDS = st.lists(
    st.builds(
        CachedRecord,
        key=st.text(max_size=5) | st.just("\udcff.png"),
        prompts=st.lists(st.text(max_size=5) | st.just("\ud800"), min_size=1, max_size=3),
        split=st.sampled_from([None, "train", "validation"]),
        flipped=st.booleans(),
        picture=st.none() | st.binary(min_size=16, max_size=16).map(bytes.hex),
    ).map(lambda record: replace(record, prompt_weights=[0.1 + i for i in range(len(record.prompts))])),
    min_size=1,
    max_size=9,
)


@settings(max_examples=20)
@given(records=RECORDS)
def test_records_come_back_as_they_were(records: list[CachedRecord], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache_writer, "SHARD_BYTES", 40)
        found = LatentCache(write(path, records)).records
    assert isinstance(found, ArrowRecords)
    assert list(found) == [found[index] for index in range(len(found))] == found[:] == records
    assert found[-1] == records[-1]
    for index, record in enumerate(records):
        assert found.shown(index) == (record.picture or record.key)
        assert [found.prompt(index, number) for number in range(len(record.prompts))] == record.prompts


def write(path: Path, records: Sequence[CachedRecord], heights: Sequence[int] = (1,)) -> Path:
    """A cache of records one after the other, in a shard each of so many as are of one height in turn."""
    path.mkdir(exist_ok=True)
    writer = CacheWriter(path, torch.float32, "recipe")
    writer.write_empty_prompt(torch.zeros(1, 1, 2), tokens=0)
    for index, record in enumerate(records):
        latents = torch.full((1, 3, heights[index % len(heights)], 1), float(index))
        prompts = torch.full((len(record.prompts), 1, 2), float(index))
        writer.write([record], latents, prompts, [1] * len(record.prompts), [bytes(16)])
    writer.close(fingerprint="x")
    return path


def placed(records: Sequence[CachedRecord], batch: int = 7) -> PlacedRecords:
    return PlacedRecords.of([RecordRows(as_batch(records[at : at + batch])) for at in range(0, len(records), batch)])


def split(records: Sequence[CachedRecord], fraction: float) -> tuple[list[int], list[int]]:
    found = LargeSplit(placed(records), fraction)
    return found.train[torch.arange(len(found.train))].tolist(), found.held_out.tolist()


def numbered(count: int, captions: int = 1, into: Split | None = None, name: str = "") -> list[CachedRecord]:
    """Records of which so many in a row show one picture."""
    pictures = [key_hash(f"{name}{index // captions}").hex()[:32] for index in range(count)]
    return [CachedRecord(f"{name}{index}.png", [""], into, picture=picture) for index, picture in enumerate(pictures)]


@pytest.mark.parametrize("captions", [1, 5])
def test_about_the_fraction_is_held_out_whatever_the_captions_of_a_picture(captions: int) -> None:
    train, held_out = split(numbered(8_000, captions), 0.1)
    assert sorted(train + held_out) == list(range(8_000))
    # Binomial over pictures; the smallest hash of five keys alone would hold 41% of them out.
    assert len(held_out) / 8_000 == pytest.approx(0.1, abs=4 * (0.09 * captions / 8_000) ** 0.5)
    assert {index // captions for index in train}.isdisjoint(index // captions for index in held_out)


def test_adding_records_moves_none() -> None:
    _, before = split(numbered(2000), 0.1)
    _, after = split(numbered(3000), 0.1)
    assert [index for index in after if index < 2000] == before


ROWS = st.lists(
    st.builds(
        CachedRecord,
        key=st.just(""),
        prompts=st.just([""]),
        split=st.sampled_from([None, None, "train", "validation"]),
        picture=st.none() | st.sampled_from(range(8)).map(lambda number: f"{number + 1:02x}" * 16),
    ),
    min_size=1,
    max_size=30,
)


@given(rows=ROWS, fraction=st.sampled_from([0, 0.05, 0.3, 0.6]), mirror=st.booleans())
def test_sources_decide_and_no_picture_is_on_both_sides(
    rows: list[CachedRecord], fraction: float, mirror: bool
) -> None:
    rows = [replace(row, key=f"{index}.png") for index, row in enumerate(rows)]
    if mirror:
        rows = rows + [replace(row, flipped=True) for row in rows if row.split != "validation"]
    try:
        train, held_out = split(rows, fraction)
    except UserError:
        assume(False)
    shown = [row.picture or row.key for row in rows]
    by_source = {shown[i] for i, row in enumerate(rows) if row.split == "validation"}
    trained_by_source = {shown[i] for i, row in enumerate(rows) if row.split == "train"} - by_source
    assert not {shown[i] for i in train} & {shown[i] for i in held_out}
    assert not any(rows[i].flipped or rows[i].split == "train" for i in held_out)
    assert {i for i, row in enumerate(rows) if row.split == "validation"} <= set(held_out)
    assert {i for i in range(len(rows)) if shown[i] in trained_by_source} <= set(train)
    left_out = set(range(len(rows))) - {*train, *held_out}
    assert all(rows[i].flipped or (rows[i].split == "train" and shown[i] in by_source) for i in left_out)
    undecided = {shown[i] for i, row in enumerate(rows) if row.split is None} - by_source - trained_by_source
    if not fraction:
        assert {shown[i] for i in held_out} == by_source
    elif undecided and not by_source:
        assert held_out


def test_a_fraction_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(UserError, match=r"data\.validation_fraction=1"):
        split(numbered(3), 1)
    with pytest.raises(UserError, match="leaves none of 3 records"):
        split(numbered(3), 0.999999)


def test_the_validation_table_has_one_record_of_each_picture() -> None:
    places = np.array([5, 1, 5, 0, 9], np.uint64)
    assert first_of_pictures(torch.tensor([0, 1, 2, 4]), places, 9).tolist() == [1, 0, 4]
    assert first_of_pictures(torch.tensor([0, 1, 2, 4]), places, 2).tolist() == [1, 0]


@pytest.mark.parametrize("heights", [(1,), (1, 2)])
def test_a_large_cache_is_split_and_visited_by_formula(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heights: tuple[int, ...]
) -> None:
    monkeypatch.setattr(cache_writer, "SHARD_BYTES", 2000)
    listed = LatentCache(write(tmp_path / "small", numbered(200), heights))
    monkeypatch.setattr(cache_writer, "LARGE", 100)
    cache = LatentCache(write(tmp_path / "large", numbered(200), heights))
    assert listed.placed is None
    assert cache.placed is not None
    parts = LargeSplit(cache.placed, 0.1)
    table = validation_table(cache, parts.held_out, num_records=8, timesteps_per_record=2)
    assert table is not None
    assert table.records.unique().numel() == 8
    data = TrainingData(cache, PixelVAE(1), parts.train, parts.held_out, table)
    assert sorted(data.records["train"].tolist()) == parts.train[torch.arange(len(parts.train))].tolist()
    loader = LatentLoader(cache, parts.train, 5, 1, 0, torch.device("cpu"))
    seen: list[int] = []
    for start in range(0, 1000, 5):
        seen += loader.records_at(range(start, start + 5))
        latents = loader.batches(range(start, start + 5)).latents
        assert [f"{int(number)}.png" for number in latents[:, 0, 0, 0]] == [cache.records[i].key for i in seen[-5:]]
    times = torch.tensor(seen).bincount(minlength=200)
    assert times[parts.held_out].sum() == 0
    assert int(times[data.records["train"]].min()) >= 4
    again = LatentLoader(cache, parts.train, 5, 1, 0, torch.device("cpu"))
    assert again.records_at(range(750, 755)) == seen[750:755]


def test_a_cache_of_an_earlier_version_is_listed_however_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_writer, "LARGE", 100)
    path = write(tmp_path / "large", numbered(200))
    now = LatentCache(path)
    as_earlier_version(path)
    then = LatentCache(path)
    assert then.placed is None
    assert list(then.records) == list(now.records)
    for one, other in zip(then.batch(torch.arange(200))[:4], now.batch(torch.arange(200))[:4], strict=True):
        assert torch.equal(one, other)
