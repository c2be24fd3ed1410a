"""What is held out of data=openmoji: of each such record every part is trained on, and the pair never is."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aaa.data.cached_records import CachedRecord
from aaa.data.duplicates import picture_digest
from aaa.data.emoji_parts import Part, held_out_pairs, pairs_of, parts_of
from aaa.data.openmoji import OpenMojiSource
from aaa.data.split import split_records


@pytest.fixture(scope="module")
def source() -> OpenMojiSource:
    return OpenMojiSource(64, held_out_pairs=0.1)


@pytest.fixture(scope="module")
def of_all(source: OpenMojiSource) -> dict[str, list[Part]]:
    return parts_of({source[index].prompt for index in range(len(source))})


@pytest.fixture(scope="module")
def sides(source: OpenMojiSource) -> tuple[list[str], list[str]]:
    """Names that the source has for training, and those that it holds out."""
    records = [source[index] for index in range(len(source))]
    return tuple([record.prompt for record in records if record.split == side] for side in ("train", "validation"))  # type: ignore[return-value]


def require_composed(of_all: dict[str, list[Part]], train: list[str], held_out: list[str]) -> None:
    """Of each held-out name every part is in a name that is trained on, and one pair of them is in none."""
    seen_parts = {part for name in train for part in of_all[name]}
    seen_pairs = {pair for name in train for pair in pairs_of(of_all[name])}
    assert 250 < len(held_out) < 500
    for name in held_out:
        assert set(of_all[name]) <= seen_parts, name
        assert not set(pairs_of(of_all[name])) <= seen_pairs, name
    assert not set(train) & set(held_out)


def test_every_part_of_what_is_held_out_is_trained_on_and_the_pair_is_not(
    of_all: dict[str, list[Part]], sides: tuple[list[str], list[str]]
) -> None:
    require_composed(of_all, *sides)


@pytest.mark.slow
def test_so_it_is_when_copies_and_mirrored_ones_of_held_out_pictures_are_left_out(
    source: OpenMojiSource, of_all: dict[str, list[Part]]
) -> None:
    def cached(index: int) -> CachedRecord:
        record = source[index]
        return CachedRecord(record.key, [record.prompt], record.split, False, [1.0], picture_digest(record.load()))

    with ThreadPoolExecutor(2) as pool:
        records = list(pool.map(cached, range(len(source))))
    train, held_out = ([records[index].prompts[0] for index in side.tolist()] for side in split_records(records, 0.05))
    assert len(train) + len(held_out) < len(records), "some are left out"
    require_composed(of_all, train, held_out)


def test_many_kinds_of_pairs_are_held_out(of_all: dict[str, list[Part]], sides: tuple[list[str], list[str]]) -> None:
    seen = {pair for name in sides[0] for pair in pairs_of(of_all[name])}
    unseen = {pair for name in sides[1] for pair in pairs_of(of_all[name])} - seen
    kinds = Counter(other[0] for _, other in unseen)
    assert set(kinds) == {"tone", "figure", "hair", "direction", "color", "face", "minutes"}
    assert kinds["tone"] > 50


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("woman farmer medium dark skin tone", {"subject": "farmer", "figure": "woman", "tone": "medium dark"}),
        ("handshake dark skin tone light skin tone", {"subject": "handshake", "tone": "dark and light"}),
        ("man light skin tone red hair", {"subject": "man", "hair": "red hair", "tone": "light"}),
        ("three thirty", {"hour": "three", "minutes": "thirty"}),
        ("light blue heart", {"subject": "heart", "color": "light blue"}),
        ("palm down hand dark skin tone", {"subject": "palm hand", "direction": "down", "tone": "dark"}),
        ("crying cat", {"subject": "crying", "face": "cat"}),
        ("rabbit face", {"subject": "rabbit", "face": "face"}),
        ("hot beverage", {"subject": "hot beverage"}),
        ("blueberries", {"subject": "blueberries"}),
    ],
)
def test_names_are_taken_apart(of_all: dict[str, list[Part]], name: str, parts: dict[str, str]) -> None:
    assert dict(of_all[name]) == parts


@settings(max_examples=50, deadline=None)
@given(
    names=st.sets(
        st.builds(
            lambda figure, subject, tone: f"{figure} {subject} {tone}".strip(),
            st.sampled_from(["man", "woman", "person"]),
            st.sampled_from(["cook", "judge", "farmer", "with cane"]),
            st.sampled_from(["", "dark skin tone", "medium skin tone", "light skin tone dark skin tone"]),
        ),
        max_size=30,
    ),
    share=st.floats(0, 0.9),
)
def test_whatever_names_there_are_no_part_is_lost(names: set[str], share: float) -> None:
    parts = parts_of(names)
    assert parts.keys() == names
    unseen = set(held_out_pairs(parts, share))
    held_out = {name for name, own in parts.items() if unseen & set(pairs_of(own))}
    kept = {part for name in names - held_out for part in parts[name]}
    assert all(set(parts[name]) <= kept for name in held_out)
