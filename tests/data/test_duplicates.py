"""What shows the same picture is known to the cache, and lies on one side of the split."""

import json
import logging
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from aaa.data.buckets import bucket_sizes, nearest_bucket, square
from aaa.data.cache import LatentCache, earlier_cache
from aaa.data.cached_records import NO_PICTURE
from aaa.data.duplicates import picture_groups
from aaa.data.imagefolder import ImageFolderSource
from aaa.data.records import Record
from aaa.data.split import split_records
from aaa.encoders.words import WordEmbedding
from tests.data.test_cache import build
from tests.helpers.earlier_cache import as_earlier_version


def noise(seed: int, size: tuple[int, int] = (37, 29)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def folder_of(root: Path, **pictures: Image.Image) -> ImageFolderSource:
    """Pictures by name (`a_png` is a.png), each with a caption beside it."""
    root.mkdir(parents=True)
    for name, picture in pictures.items():
        file = root / ".".join(name.rsplit("_", 1))
        picture.save(file)
        file.with_suffix(".txt").write_text(f"{name}, a picture")
    return ImageFolderSource(str(root))


@pytest.mark.parametrize("buckets", [False, True])
def test_copies_are_known_by_their_pixels(tmp_path: Path, buckets: bool) -> None:
    one, other = noise(1), noise(2)
    source = folder_of(
        tmp_path / "data",
        one_png=one,
        copy_png=one,
        bitmap_bmp=one,
        tagged_tiff=one,
        mirrored_png=ImageOps.mirror(one),
        turned_png=one.transpose(Image.Transpose.ROTATE_180),
        flipped_png=ImageOps.flip(one),
        other_png=other,
    )
    fit = nearest_bucket(bucket_sizes(16, 4, 2.0)) if buckets else square(16)
    cache = build(tmp_path / "cache", source, fit=fit, horizontal_flip=True)
    first = {
        record.key: cache.records[group].key for record, group in zip(cache.records, groups_of(cache), strict=True)
    }
    alike = {key for key, found in first.items() if found == first["one.png"]}
    assert alike == {"one.png", "copy.png", "bitmap.bmp", "tagged.tiff", "mirrored.png"}
    assert first["turned.png"] == first["flipped.png"]  # mirrored, one is the other
    assert len(set(first.values())) == 3
    mirrored = {record.key: record.picture for record in cache.records if record.flipped}
    assert mirrored == {record.key: record.picture for record in cache.records if not record.flipped}


def groups_of(cache: LatentCache) -> list[int]:
    return list(picture_groups(cache.records))


def test_a_held_out_picture_is_never_trained_on_whatever_its_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pictures = {f"a{i}_png": noise(i) for i in range(10)} | {f"b{i}_png": ImageOps.mirror(noise(i)) for i in range(10)}
    cache = build(tmp_path / "cache", folder_of(tmp_path / "data", **pictures), horizontal_flip=True)
    with caplog.at_level(logging.INFO):
        train, held_out = split_records(cache.records, 0.2)
    assert len(held_out) == 4
    assert {cache.records[i].picture for i in held_out.tolist()}.isdisjoint(
        cache.records[i].picture for i in train.tolist()
    )
    assert len(train) == 32
    assert "20 records show a picture that another record shows too, mirrored or not, e.g. a0.png and b0.png" in (
        caplog.text
    )


def test_pictures_are_taken_over_with_what_tells_them_apart(tmp_path: Path) -> None:
    first = build(tmp_path / "cache", folder_of(tmp_path / "one", a_png=noise(1), b_png=noise(2)))
    source = folder_of(tmp_path / "two", a_png=noise(1), b_png=noise(2), c_png=noise(1))
    again = build(tmp_path / "again", source, fingerprint="other")
    assert json.loads((tmp_path / "again" / "index.json").read_text())["build"]["reused"] == 2
    assert [record.picture for record in again.records[:2]] == [record.picture for record in first.records]
    assert again.records[2].picture == again.records[0].picture


def test_a_cache_of_an_earlier_version_is_opened_and_split_row_by_row(tmp_path: Path) -> None:
    build(tmp_path / "cache", folder_of(tmp_path / "data", **{f"a{i}_png": noise(0) for i in range(10)}))
    as_earlier_version(tmp_path / "cache")
    lines = (tmp_path / "cache" / "records.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    for record in records:
        del record["picture"]
    (tmp_path / "cache" / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    cache = LatentCache(tmp_path / "cache")
    assert {record.picture for record in cache.records} == {NO_PICTURE}
    assert [len(indices) for indices in split_records(cache.records, 0.2)] == [8, 2]


class Told:
    """Two-coloured pictures with these prompts."""

    def __init__(self, *prompts: str | dict[str, float]) -> None:
        self.prompts = prompts

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, index: int) -> Record:
        said = self.prompts[index]
        prompts = {said: 1.0} if isinstance(said, str) else said
        return Record(str(index), next(iter(prompts)), lambda: noise(index), prompts=prompts)


def test_prompts_are_embedded_in_one_form(tmp_path: Path) -> None:
    composed, taken_apart = (unicodedata.normalize(form, "café niño 각") for form in ("NFC", "NFD"))
    assert composed != taken_apart
    cache = build(tmp_path / "cache", Told(composed, taken_apart, {composed: 1.0, taken_apart: 2.0}))
    assert [list(record.prompts) for record in cache.records] == [[composed]] * 3
    assert cache.records[2].prompt_weights == [3.0]
    _, embeds = cache.gather(torch.tensor([0, 1, 2]))
    assert torch.equal(embeds[0], embeds[1])
    assert torch.equal(embeds[0], embeds[2])
    torch.testing.assert_close(embeds[0], WordEmbedding(32, 6).encode([composed])[0][0], atol=1e-2, rtol=1e-3)


def test_odd_prompts_are_embedded(tmp_path: Path) -> None:
    odd = [
        "\ud800",
        "a \udcff cat",
        "a\0cat",
        "a\r\n\tcat",
        "\ufeffa cat",
        "\u202e\u062a\u0627\u0642\u202c",
        "\u200b",
        " ",
        "\uff26\uff35",
    ]
    cache = build(tmp_path / "cache", Told(*odd))
    assert len(cache) == len(odd)
    assert LatentCache(tmp_path / "cache").records[1].prompt == "a \ufffd cat"


def test_scripts_without_spaces_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    build(tmp_path / "cache", Told("a cat", "一只猫", {"赤い猫": 1.0, "a red cat": 1.0}, "빨간 고양이"))
    assert "2 prompts are in a script without spaces" in caplog.text
    caplog.clear()
    build(tmp_path / "other", Told("a cat", "빨간 고양이"))
    assert "script" not in caplog.text


def test_what_is_odd_about_pictures_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = tmp_path / "data"
    root.mkdir()
    for index in range(5):
        noise(index).save(root / f"{index}.png", icc_profile=b"broken")
        (root / f"{index}.txt").write_text("x")
    noise(9).save(root / "9.gif", save_all=True, append_images=[noise(8)])
    (root / "9.txt").write_text("x")
    for name, size in (("tiny", (37, 7)), ("small", (8, 8))):
        noise(7, size).save(root / f"{name}.png")
        (root / f"{name}.txt").write_text("x")
    build(tmp_path / "cache", ImageFolderSource(str(root)), horizontal_flip=True)
    said = [record.message for record in caplog.records if "Of 16 records" in record.message]
    assert said == [
        "Of 16 records the pictures of 5 have a colour profile that cannot be used, and are taken as sRGB, e.g. "
        "0.png, 1.png, 2.png",
        "Of 16 records the pictures of 1 have several frames or pages, of which the first is used, e.g. 9.gif",
        "Of 16 records the pictures of 1 have less than half the width or height that they are trained at, so that "
        "they are enlarged and blurred, e.g. tiny.png",
    ]


def test_prompts_that_a_program_has_written_for_nothing_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build(tmp_path / "cache", Told("nan", "a nan", "N/A", "", "None", "null", "none of it", "nothing"))
    assert "4 of 8 records have a prompt such as 'nan' or 'None', which tables have where there is no text" in (
        caplog.text
    )
    assert "e.g. 0, 2, 4; such words are trained on" in caplog.text


def test_the_cache_of_a_run_is_found_where_only_the_code_was_another(tmp_path: Path) -> None:
    origin = {"code": "then", "records": "r", "resolution": 16, "source": {"_target_": "x"}, "buckets": False}
    cache = build(tmp_path / "data-pixel-16-abc", Told("a cat"), fingerprint="abc", origin=origin)

    def found(fingerprint: str = "abc", **changed: object) -> Path | None:
        return earlier_cache(tmp_path, fingerprint, origin | {"code": "now", "weights": []} | changed)

    assert found() == found(source={"_target_": "x", "new key": None}) == cache.path
    assert found(records="other") is found(source={"_target_": "y"}) is found("abd") is found("*") is None
    (cache.path / "records.arrow").write_text("")
    assert found() is None
