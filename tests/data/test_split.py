import hashlib
import logging
import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from aaa.data.cached_records import NO_PICTURE, CachedRecord, RecordRows, as_batch
from aaa.data.large_split import LargeSplit
from aaa.data.order import ShuffledOrder
from aaa.data.picture_places import PlacedRecords
from aaa.data.records import Split
from aaa.data.split import micro_batch, split_records
from aaa.errors import UserError


def records(count: int, split: Split | None = None, name: str = "") -> list[CachedRecord]:
    return [CachedRecord(f"{name}{index}.png", [""], split) for index in range(count)]


@given(count=st.integers(1, 40), batch_size=st.integers(1, 100), seed=st.integers(0, 5), start=st.integers(0, 50))
def test_every_record_comes_once_an_epoch_wherever_one_starts(
    count: int, batch_size: int, seed: int, start: int
) -> None:
    order = ShuffledOrder(torch.arange(count) * 3, seed)
    epochs = 3
    visited = torch.cat(
        [order[range(i, min(i + batch_size, epochs * count))] for i in range(0, epochs * count, batch_size)]
    )
    for epoch in range(epochs):
        assert sorted(visited[epoch * count : (epoch + 1) * count].tolist()) == list(range(0, 3 * count, 3))
    # A resumed run takes up the same order, in batches of any size.
    start = min(start, epochs * count - 1)
    again = ShuffledOrder(torch.arange(count) * 3, seed)
    assert torch.equal(again[range(start, epochs * count)], visited[start:])


@given(
    share=st.integers(1, 5),
    before=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    after=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    resumed_at=st.integers(0, 4),
)
def test_every_position_comes_once_whoever_shares_the_steps_and_wherever_that_changes(
    share: int, before: tuple[int, int], after: tuple[int, int], resumed_at: int
) -> None:
    batch_size = share * math.lcm(math.prod(before), math.prod(after))
    visited: list[int] = []
    for step in range(5):
        processes, micro_batches = before if step < resumed_at else after
        for micro in range(micro_batches):
            for rank in range(processes):
                visited += micro_batch(
                    step, micro, rank, batch_size=batch_size, micro_batches=micro_batches, processes=processes
                )
    assert sorted(visited) == list(range(5 * batch_size))
    assert visited == sorted(visited)


def test_epochs_and_seeds_are_shuffled_differently() -> None:
    order = ShuffledOrder(torch.arange(50), seed=0)
    assert not torch.equal(order[range(50)], order[range(50, 100)])
    assert not torch.equal(order[range(50)], ShuffledOrder(torch.arange(50), seed=1)[range(50)])


@given(count=st.integers(2, 200), fraction=st.floats(0.001, 0.9))
def test_the_fraction_is_held_out_and_nothing_is_lost(count: int, fraction: float) -> None:
    assume(max(round(fraction * count), 1) < count)
    train, held_out = split_records(records(count), fraction)
    assert len(train) + len(held_out) == count
    assert len(held_out) == max(round(fraction * count), 1)
    assert not set(train.tolist()) & set(held_out.tolist())


def test_adding_records_keeps_almost_all_of_the_old_ones_where_they_were() -> None:
    _, before = split_records(records(200), 0.1)
    _, after = split_records(records(210), 0.1)
    assert len(set(before.tolist()) & set(after.tolist())) >= 18


def test_the_mirrored_copy_of_a_held_out_record_is_not_trained_on() -> None:
    mirrored = [CachedRecord(record.key, [""], None, flipped=True) for record in records(20)]
    train, held_out = split_records([*records(20), *mirrored], 0.2)
    assert len(held_out) == 4
    assert len(train) == 2 * 16
    assert {index % 20 for index in train.tolist()}.isdisjoint(held_out.tolist())


def test_the_source_may_decide() -> None:
    train, held_out = split_records([*records(3, "train"), *records(2, "validation", "held out ")], 0)
    assert train.tolist() == [0, 1, 2]
    assert held_out.tolist() == [3, 4]


def split_row_by_row(records: Sequence[CachedRecord], fraction: float) -> tuple[list[int], list[int]]:
    """As versions did that knew of no pictures."""
    undecided = [i for i, record in enumerate(records) if record.split is None and not record.flipped]
    undecided.sort(key=lambda index: hashlib.sha256(records[index].key.encode()).digest())
    count = round(fraction * len(undecided))
    if fraction and len(undecided) > 1:
        count = max(count, 1)
    held_out = {*undecided[:count], *(i for i, r in enumerate(records) if r.split == "validation" and not r.flipped)}
    keys = {records[i].key for i in held_out}
    train = [i for i, r in enumerate(records) if i not in held_out and not (r.flipped and r.key in keys)]
    return train, sorted(held_out)


ROWS = st.lists(
    st.builds(
        CachedRecord,
        key=st.sampled_from([f"{index}.png" for index in range(12)]),
        prompts=st.just([""]),
        split=st.sampled_from([None, None, "train", "validation"]),
        picture=st.sampled_from("abcdefgh"),
    ),
    min_size=1,
    max_size=40,
)


@given(rows=ROWS, fraction=st.sampled_from([0, 0.05, 0.3, 0.6]), mirror=st.booleans())
def test_no_picture_is_on_both_sides(rows: list[CachedRecord], fraction: float, mirror: bool) -> None:
    if mirror:
        rows = rows + [replace(row, flipped=True) for row in rows if row.split != "validation"]
    try:
        train, held_out = split_records(rows, fraction)
    except UserError:
        assert any(row.split for row in rows) or fraction == 0.6
        return
    seen, kept = ({rows[i].picture for i in indices.tolist()} for indices in (train, held_out))
    assert not seen & kept
    assert not any(rows[i].flipped for i in held_out.tolist())
    assert {i for i, row in enumerate(rows) if row.split == "validation" and not row.flipped} <= set(held_out.tolist())
    lost = set(range(len(rows))) - set(train.tolist()) - set(held_out.tolist())
    assert all(rows[i].picture in kept and (rows[i].flipped or rows[i].split == "train") for i in lost)
    free = {row.picture for row in rows} - {row.picture for row in rows if row.split}
    if fraction and len(free) > 1:
        assert kept & free


@given(
    splits=st.lists(st.sampled_from([None, None, None, "train", "validation"]), min_size=1, max_size=60),
    fraction=st.sampled_from([0, 0.01, 0.05, 0.3]),
    mirror=st.booleans(),
)
def test_where_no_picture_comes_twice_the_choice_is_as_ever(
    splits: list[Split | None], fraction: float, mirror: bool
) -> None:
    rows = [CachedRecord(f"{i}.png", [""], split, picture=str(i)) for i, split in enumerate(splits)]
    if mirror:
        rows += [replace(row, flipped=True) for row in rows if row.split != "validation"]
    expected = split_row_by_row(rows, fraction)
    if expected[0]:
        assert tuple(indices.tolist() for indices in split_records(rows, fraction)) == expected


@given(rows=ROWS, fraction=st.sampled_from([0, 0.05, 0.3]), mirror=st.booleans())
def test_a_cache_of_an_earlier_version_is_split_as_it_was(
    rows: list[CachedRecord], fraction: float, mirror: bool
) -> None:
    rows = [replace(row, picture=NO_PICTURE) for row in rows]
    if mirror:
        rows += [replace(row, flipped=True) for row in rows if row.split != "validation"]
    expected = split_row_by_row(rows, fraction)
    if expected[0]:
        assert tuple(indices.tolist() for indices in split_records(rows, fraction)) == expected


@pytest.mark.parametrize(("pictures", "held_out_pictures"), [(12, 1), (30, 2), (100, 5)])
def test_all_captions_of_a_picture_are_held_out_together(
    pictures: int, held_out_pictures: int, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [CachedRecord(f"{i}.png", [f"caption {j}"], None) for i in range(pictures) for j in range(5)]
    with caplog.at_level(logging.INFO):
        train, held_out = split_records(rows, 0.05)
    assert len(held_out) == 5 * held_out_pictures
    assert len(train) == len(rows) - len(held_out)
    assert not {rows[i].key for i in train.tolist()} & {rows[i].key for i in held_out.tolist()}
    assert f"{5 * pictures} records show a picture that another record shows too" in caplog.text


def test_a_picture_that_comes_very_often_is_not_what_is_held_out() -> None:
    rows = [*records(20), *(CachedRecord(f"blank {i}.png", [""], None, picture="blank") for i in range(300))]
    _, held_out = split_records(rows, 0.05)
    assert len(held_out) == 16
    assert all(rows[i].picture is None for i in held_out.tolist())


def test_of_one_picture_alone_nothing_is_held_out() -> None:
    rows = [CachedRecord(f"{i}.png", [""], None, picture="x") for i in range(8)]
    assert [len(indices) for indices in split_records(rows, 0.25)] == [8, 0]


def test_what_the_source_trains_on_and_holds_out_is_held_out_only(caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        CachedRecord("train/a.png", [""], "train", picture="x"),
        CachedRecord("train/b.png", [""], "train", picture="y"),
        CachedRecord("train/a.png", [""], "train", flipped=True, picture="x"),
        CachedRecord("test/c.png", [""], "validation", picture="x"),
        CachedRecord("d.png", [""], None, picture="x"),
        CachedRecord("e.png", [""], None, picture="y"),
    ]
    train, held_out = split_records(rows, 0)
    assert train.tolist() == [1, 5]
    assert held_out.tolist() == [3, 4]
    assert "1 record that its source has for training shows a picture that it holds out too, e.g. train/a.png" in (
        caplog.text
    )


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (["train", "validation"], "^All 3 records to train on show pictures that the data holds out too"),
        (["validation"], "^The data holds out all of its 3 records by itself"),
    ],
)
def test_where_nothing_is_left_that_is_laid_to_what_holds_it_out(splits: list[Split], message: str) -> None:
    rows = [CachedRecord(f"{split}/{i}.png", [""], split, picture=f"{i}" * 32) for split in splits for i in (1, 2, 3)]
    rows += [replace(row, flipped=True) for row in rows if row.split == "train"]
    with pytest.raises(UserError, match=message):
        split_records(rows, 0.05)
    with pytest.raises(UserError, match=message):
        LargeSplit(PlacedRecords.of([RecordRows(as_batch(rows))]), 0.05)


def test_a_name_that_is_no_text_can_be_split() -> None:
    assert len(split_records([CachedRecord(f"{i}\udcff.png", [""], None) for i in range(9)], 0.3)[1]) == 3


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_impossible_fractions_are_refused(fraction: float) -> None:
    with pytest.raises(UserError, match="validation_fraction"):
        split_records(records(3), fraction)
