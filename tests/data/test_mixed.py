"""Several caches as one: what is read, in which order, and that what is held out is seen nowhere."""

import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aaa.data import cache_writer
from aaa.data.cache import LatentCache
from aaa.data.cache_extras import open_extra
from aaa.data.cached_records import CachedRecord
from aaa.data.kept import KeptRecords
from aaa.data.mixed_cache import MixedCache, fingerprint_within
from aaa.data.mixed_order import MixedPart, MixedRecords, mixed_order
from aaa.data.mixed_split import in_turn, naming_part, split_mixture
from aaa.errors import UserError
from aaa.run.latent_loader import LatentLoader
from tests.data.test_large_cache import numbered, write
from tests.helpers.earlier_cache import as_earlier_version

CPU = torch.device("cpu")


def mixture(folder: Path, heights: tuple[int, ...] = (1,), **counts: int) -> MixedCache:
    caches = {name: write(folder / name, numbered(count, name=name), heights) for name, count in counts.items()}
    return MixedCache({name: LatentCache(path) for name, path in caches.items()})


def test_records_are_read_as_their_own_caches_have_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_writer, "SHARD_BYTES", 40)  # several shards
    cache = mixture(tmp_path, a=9, b=5, c=4)
    as_earlier_version(tmp_path / "c")  # beside such of today's
    cache = MixedCache({name: LatentCache(tmp_path / name) for name in "abc"})
    assert len(cache) == 18
    assert [*cache.spans.values()] == [range(9), range(9, 14), range(14, 18)]
    mixed = cache.batch(torch.tensor([13, 0, 9, 17, 4]))
    assert mixed.latents[:, 0, 0, 0].tolist() == [4, 0, 0, 3, 4]
    assert mixed.prompt_embeds[:, 0, 0].tolist() == [4, 0, 0, 3, 4]
    for index, (part, place) in {13: ("b", 4), 0: ("a", 0), 17: ("c", 3)}.items():
        own = cache.parts[part].records[place]
        assert cache.records[index].key == f"{part}/{own.key}"
        assert cache.records[index].prompts == own.prompts
        assert cache.records.shown(index) == cache.parts[part].records.shown(place)
        assert cache.records.prompt(index, 0) == own.prompt
    assert [record.key for record in cache.records] == [cache.records[index].key for index in range(18)]
    assert fingerprint_within(cache.fingerprint, "b") == cache.parts["b"].fingerprint
    assert fingerprint_within(cache.fingerprint, "d") is None


def test_a_part_without_weight_is_held_out_and_not_trained_on(tmp_path: Path) -> None:
    cache = mixture(tmp_path, a=20, b=20)
    split = split_mixture(cache, {"a": 1.0, "b": 0.0}, {"a": 0.1, "b": 0.1})
    trained, only_seen = split.parts
    assert len(split) == len(trained.train) > 0
    assert len(only_seen.train) == 0
    assert len(only_seen.held_out) > 0
    order = mixed_order(split, cache.shape_ids, 4, 0)
    assert isinstance(trained.train, torch.Tensor)
    assert set(order[range(100)].tolist()) == set(trained.train.tolist())


def test_a_part_without_weight_may_hold_out_all_of_itself(tmp_path: Path) -> None:
    """As the validation split of COCO, in a mixture that is to be judged by it."""
    records = {"a": numbered(9, name="a"), "b": numbered(5, into="validation", name="b")}
    parts = {name: write(tmp_path / name, of_it) for name, of_it in records.items()}
    cache = MixedCache({name: LatentCache(path) for name, path in parts.items()})
    split = split_mixture(cache, {"a": 1.0, "b": 0.0}, {"a": 0.1, "b": 0.1})
    assert split.parts[1].held_out.tolist() == [*cache.spans["b"]]
    assert not len(split.parts[1].train)
    with pytest.raises(UserError, match="The data holds out all of its 5 records by itself"):
        split_mixture(cache, {"a": 1.0, "b": 1.0}, {"a": 0.1, "b": 0.1})


@pytest.mark.parametrize("is_large", [False, True])
def test_all_of_a_part_without_weight_is_held_out_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_large: bool
) -> None:
    """As a folder `val` alone, which does not say so itself; what a data set has for training is not held out."""
    if is_large:
        monkeypatch.setattr(cache_writer, "LARGE", 4)
    own = [*numbered(6, name="b"), *numbered(2, into="train", name="c"), *numbered(2, into="validation", name="d")]
    own[1:3] = [replace(record, flipped=True) for record in own[1:3]]
    paths = {"a": write(tmp_path / "a", numbered(40, name="a")), "b": write(tmp_path / "b", own)}
    cache = MixedCache({name: LatentCache(path) for name, path in paths.items()})
    assert (cache.parts["b"].placed is not None) == is_large
    with caplog.at_level(logging.INFO):
        split = split_mixture(cache, {"a": 1.0, "b": 0.0}, {"a": 0.1, "b": 1.0})
    assert split.parts[1].held_out.tolist() == [40, 43, 44, 45, 48, 49]
    assert not len(split.parts[1].train)
    told = "data.parts.b.weight=0: none of it is trained on. Held out, to judge by: "
    assert caplog.messages[-1] == f"{told}6"
    with caplog.at_level(logging.INFO):
        split = split_mixture(cache, {"a": 1.0, "b": 0.0}, {"a": 0.1, "b": 0.3})
    some = len(split.parts[1].held_out)
    assert f"{told}{some}; all with data.parts.b.validation_fraction=1" in caplog.messages


def test_what_is_wrong_with_a_part_is_told_by_its_own_keys() -> None:
    with pytest.raises(UserError) as told, naming_part("mine"):
        raise UserError("data.root=/x: aaa.data.records says: data.resolution=3, data.parts.mine.path; data.root=PATH")
    expected = "data.parts.mine.root=/x: aaa.data.records says: data.resolution=3, data.parts.mine.path; "
    assert str(told.value) == f"{expected}data.parts.mine.root=PATH"


def test_extras_of_a_part_are_kept_beside_it(tmp_path: Path) -> None:
    cache = mixture(tmp_path, a=3, b=2)
    open_extra(cache, "twice", "v1", lambda latents: 2 * latents)
    assert cache.batch(torch.tensor([4, 1])).extras["twice"][:, 0, 0, 0].tolist() == [2, 2]
    alone = LatentCache(tmp_path / "b")
    open_extra(alone, "twice", "v1", lambda _: pytest.fail("computed again"))
    assert alone.batch(torch.tensor([1])).extras["twice"][:, 0, 0, 0].tolist() == [2]


def test_latents_that_cannot_be_in_one_batch_are_refused_with_both_names(tmp_path: Path) -> None:
    one, other = (LatentCache(write(tmp_path / name, numbered(2))) for name in "ab")
    other.prompt_shape = (7, 7)
    with pytest.raises(UserError, match=r"data\.parts\.a .* data\.parts\.b .* of \(7, 7\)"):
        MixedCache({"a": one, "b": other})


@settings(max_examples=25)
@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    weights=st.lists(st.sampled_from([0.0, 0.25, 1.0, 3.0, 7.3]), min_size=4, max_size=4),
    large=st.booleans(),
    seed=st.integers(0, 3),
    start=st.integers(0, 90),
)
def test_parts_come_by_weight_and_their_records_once_an_epoch(
    counts: list[int], weights: list[float], large: bool, seed: int, start: int
) -> None:
    weights = weights[: len(counts)]
    weights[0] = weights[0] or 1.0
    records, spans = parts_of(counts, weights, large)
    shapes = OneShape(spans)
    visited = mixed_order(records, shapes, 8, seed)[range(200)]
    for weight, span in zip(weights, spans, strict=True):
        own = visited[(visited >= span.start) & (visited < span.stop)].tolist()
        assert abs(len(own) - 200 * weight / sum(weights)) < 1
        for epoch in range(0, len(own) - len(span) + 1, len(span)):
            assert sorted(own[epoch : epoch + len(span)]) == list(span)
    # The same from anywhere on, whatever was asked before.
    assert torch.equal(mixed_order(records, shapes, 8, seed)[range(start, 200)], visited[start:])


class OneShape:
    """All records have latents of one shape."""

    def __init__(self, spans: list[range]) -> None:
        self.spans = spans

    def __getitem__(self, indices: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(indices)

    def ranges(self) -> list[list[range]]:
        return [self.spans]


def parts_of(counts: list[int], weights: list[float], large: bool) -> tuple[MixedRecords, list[range]]:
    parts, spans, start = [], [], 0
    for number, (count, weight) in enumerate(zip(counts, weights, strict=True)):
        spans.append(range(start, start + count))
        own = torch.arange(start, start + count)
        none = torch.empty(0, dtype=torch.long)
        train = KeptRecords([range(count)], none).moved(start) if large and number % 2 else own
        parts.append(MixedPart(str(number), weight, train, none))
        start += count
    return MixedRecords(parts), spans


def test_batches_are_of_one_shape_and_each_record_of_a_part_comes_equally_often(tmp_path: Path) -> None:
    cache = mixture(tmp_path, heights=(1, 2, 2), a=30, b=12)  # a third of either is of one height
    parts = [
        MixedPart("a", 1.0, torch.arange(30), torch.empty(0)),
        MixedPart("b", 1.0, torch.arange(30, 42), torch.empty(0)),
    ]
    order = mixed_order(MixedRecords(parts), cache.shape_ids, 8, seed=0)
    assert order.of_batches
    seen: Counter[int] = Counter()
    for start in range(0, 8 * 300, 8):
        batch = order[range(start, start + 8)]
        assert len(cache.shape_ids[batch].unique()) == 1
        assert torch.equal(torch.cat([order[range(start, start + 4)], order[range(start + 4, start + 8)]]), batch)
        seen.update(batch.tolist())
    # 2,400 samples, half of them of each: 40 times each of the 30, 100 times each of the 12.
    assert all(abs(seen[index] - 40) <= 2 for index in range(30))
    assert all(abs(seen[index] - 100) <= 2 for index in range(30, 42))
    orders = [mixed_order(MixedRecords(parts), cache.shape_ids, 8, seed) for seed in range(8)]
    first = [int(cache.shape_ids[other[range(8)]][0]) for other in orders]
    assert len(set(first)) == 2, "a shape comes first with some seeds, and later with others"


def test_large_parts_are_ordered_by_formula_and_read_by_the_loader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_writer, "LARGE", 10)
    monkeypatch.setattr(cache_writer, "SHARD_BYTES", 60)
    cache = mixture(tmp_path, a=40, b=8)
    assert cache.parts["a"].placed is not None
    assert cache.parts["b"].placed is None
    mixed = split_mixture(cache, {"a": 1.0, "b": 3.0}, {"a": 0.1, "b": 0.25})
    held_out = {int(index) for part in mixed.parts for index in part.held_out}
    loader = LatentLoader(cache, mixed, 8, 1, seed=1, device=CPU)
    trained: set[int] = set()
    for step in range(30):
        records = loader.records_at(range(8 * step, 8 * step + 8))
        assert sum(index < 40 for index in records) == 2
        batch = loader.batches(range(8 * step, 8 * step + 8))
        assert batch.latents[:, 0, 0, 0].tolist() == [index if index < 40 else index - 40 for index in records]
        trained |= set(records)
    assert len(mixed.parts[1].held_out) == 2
    assert not trained & held_out
    assert trained | held_out == set(range(48))


def test_parts_with_as_many_records_are_not_shuffled_alike() -> None:
    records, spans = parts_of([20, 20], [1.0, 1.0], large=False)
    visited = mixed_order(records, OneShape(spans), 8, seed=0)[range(40)]
    first, second = visited[visited < 20], visited[visited >= 20] - 20
    assert not torch.equal(first, second)


@pytest.mark.parametrize("large", [False, True])
def test_what_one_part_holds_out_is_trained_on_in_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, large: bool
) -> None:
    if large:
        monkeypatch.setattr(cache_writer, "LARGE", 4)
    pictures = [record.picture for record in numbered(20)]
    held = [CachedRecord(f"h{i}", [""], "validation" if i < 3 else "train", picture=pictures[i]) for i in range(10)]
    same = [CachedRecord(f"s{i}", [""], "train", picture=pictures[i]) for i in range(1, 14)]
    cache = MixedCache({"a": LatentCache(write(tmp_path / "a", held)), "b": LatentCache(write(tmp_path / "b", same))})
    mixed = split_mixture(cache, {"a": 1, "b": 1}, {"a": 0, "b": 0})
    trained = [
        part.train[torch.arange(len(part.train))].tolist()
        if isinstance(part.train, KeptRecords)
        else part.train.tolist()
        for part in mixed.parts
    ]
    assert trained == [list(range(3, 10)), list(range(12, 23))]  # without the pictures 1 and 2
    assert "data.parts.b: 2 records to train on show pictures that another part holds out" in caplog.text
    only = MixedCache({"a": cache.parts["a"], "b": LatentCache(write(tmp_path / "c", same[:2]))})
    with pytest.raises(UserError, match=r"data\.parts\.b: other parts hold out every picture"):
        split_mixture(only, {"a": 1, "b": 1}, {"a": 0, "b": 0})


def test_a_wrong_fraction_names_its_part(tmp_path: Path) -> None:
    cache = mixture(tmp_path, a=3, b=1)
    with pytest.raises(UserError, match=r"data\.parts\.b\.validation_fraction=1\.5: must be"):
        split_mixture(cache, {"a": 1, "b": 1}, {"a": 0, "b": 1.5})


def test_the_first_to_be_looked_at_are_of_all_parts() -> None:
    parts = [torch.tensor([0, 1, 2, 3]), torch.tensor([10]), torch.tensor([20, 21])]
    assert in_turn(parts).tolist() == [0, 10, 20, 1, 21, 2, 3]
