"""Pictures that are read again are those that were encoded."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aaa.data.buckets import bucket_sizes, nearest_bucket
from aaa.data.cache import LatentCache
from aaa.data.encoding import Fit
from aaa.data.records import Record
from aaa.encoders.pixel import PixelVAE
from aaa.errors import UserError
from aaa.evaluation.source_pictures import EncodedSource, OriginalsGone, SourcePictures
from tests.data.test_cache import build
from tests.evaluation.test_evaluations import evaluated

Size = tuple[int, int]
BUCKETS: Fit = nearest_bucket(bucket_sizes(16, 4, 2))


def speckled(seed: int, size: Size) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def unreadable() -> Image.Image:
    raise UserError("it cannot be read")


class Speckled:
    """Pictures of these sizes, or of None one that cannot be read, all different and with these keys."""

    def __init__(self, sizes: Sequence[Size | None], keys: Sequence[str] | None = None) -> None:
        self.sizes, self.keys = list(sizes), list(keys or [f"{place:02d}" for place in range(len(sizes))])

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, place: int) -> Record:
        size = self.sizes[place]
        load: Callable[[], Image.Image] = unreadable if size is None else partial(speckled, place, size)
        return Record(self.keys[place], "", load)


def encoded(path: Path, source: Speckled, **changed: object) -> tuple[LatentCache, EncodedSource]:
    # Records of one key are told apart by what is identified.
    settings = {"fit": BUCKETS, "skip_unreadable": True, "identify": _identity}
    cache = build(path, source, **(settings | changed))
    return cache, EncodedSource(lambda: source, cache.records, range(len(cache)), BUCKETS)


def _identity(record: Record) -> str:
    return str(record.load.args) if isinstance(record.load, partial) else record.key


def decoded(cache: LatentCache, record: int) -> np.ndarray:
    one = evaluated(cache, lambda _: pytest.fail("it was drawn"))
    assert isinstance(one.drawer.vae, PixelVAE)
    return np.asarray(one.picture(record), np.int16)


SIZES = st.tuples(st.integers(8, 60), st.integers(8, 60)) | st.none()


@settings(max_examples=15)
@given(
    st.lists(SIZES, min_size=1, max_size=8).filter(lambda sizes: len([size for size in sizes if size]) > 1), st.data()
)
def test_what_is_read_again_is_what_was_encoded(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[Size | None], data: st.DataObject
) -> None:
    """Of any sizes, where some cannot be read, and where several have one key."""
    keys = [data.draw(st.sampled_from("ab")) for _ in sizes]
    cache, part = encoded(tmp_path_factory.mktemp("c") / "cache", Speckled(sizes, keys))
    records = data.draw(st.permutations(range(len(cache))))
    for record, picture in zip(records, SourcePictures([part]).read(records), strict=True):
        assert np.abs(np.asarray(picture, np.int16) - decoded(cache, record)).max() <= 1, "by the rounding of float16"


def test_a_mirrored_copy_is_read_as_it_is_in_the_data(tmp_path: Path) -> None:
    cache, part = encoded(tmp_path / "cache", Speckled([(20, 16), (16, 16)]), horizontal_flip=True)
    mirrored = [index for index, record in enumerate(cache.records) if record.flipped]
    assert len(mirrored) == 2
    for index, picture in zip(mirrored, SourcePictures([part]).read(mirrored), strict=True):
        assert np.abs(np.asarray(picture, np.int16)[:, ::-1] - decoded(cache, index)).max() <= 1


def test_each_part_of_a_mixture_has_a_source_of_its_own(tmp_path: Path) -> None:
    first, second = (encoded(tmp_path / str(size), Speckled([(size, size)] * 3)) for size in (16, 24))
    moved = replace(second[1], span=range(10, 13))
    read = SourcePictures([first[1], moved]).read([11, 0])
    assert np.abs(np.asarray(read[0], np.int16) - decoded(second[0], 1)).max() <= 1
    assert np.abs(np.asarray(read[1], np.int16) - decoded(first[0], 0)).max() <= 1
    with pytest.raises(OriginalsGone, match=r"evaluation\.reference=original: of data=cache there are the latents"):
        SourcePictures([first[1], moved]).read([0, 5])
    assert SourcePictures().read([]) == []


def test_what_is_gone_is_said(tmp_path: Path) -> None:
    source = Speckled([(16, 16)] * 3)
    _, part = encoded(tmp_path / "cache", source)
    source.sizes[1] = None
    with pytest.raises(OriginalsGone, match=r"the picture of record '01' cannot be read again: it cannot be read"):
        SourcePictures([part]).read([0, 1, 2])
    source.keys[2] = "x"
    with pytest.raises(OriginalsGone, match=r"record '02' cannot be read again: the data set has no such record any"):
        SourcePictures([replace(part)]).read([2])

    def gone() -> Speckled:
        raise UserError("data.root=x: there is no such folder")

    with pytest.raises(OriginalsGone, match=r"the data set cannot be opened again\. data\.root=x: there is no such"):
        SourcePictures([replace(part, open=gone)]).read([0])


def test_pictures_that_were_changed_are_taken_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = Speckled([(16, 16)] * 3)
    _, part = encoded(tmp_path / "cache", source)
    source.sizes[1] = source.sizes[2] = (17, 17)
    pictures = SourcePictures([part])
    with caplog.at_level(logging.WARNING):
        assert len(pictures.read([0, 1, 2])) == len(pictures.read([0, 1, 2])) == 3
    (warning,) = [record.message for record in caplog.records if "source_pictures" in record.name]
    assert "such as that of record '01'" in warning
