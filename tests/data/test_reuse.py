"""What an earlier cache holds is not encoded again, and the cache is the same as if it had been."""

import logging
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from aaa.data import cache_writer
from aaa.data.buckets import nearest_bucket, square
from aaa.data.build_cache import _remove_unfinished
from aaa.data.cache import LatentCache
from aaa.data.cache_parts import Part, parts_folder
from aaa.data.pictures import as_rgb
from aaa.data.records import Record
from aaa.data.reuse import EarlierRows, remove_doubled
from aaa.encoders.pixel import PixelVAE
from aaa.encoders.words import WordEmbedding
from aaa.errors import UserError
from tests.helpers.built_cache import built


class CountingVAE(PixelVAE):
    """Counts what it encodes."""

    encoded = 0

    def encode(self, image: Tensor) -> Tensor:
        self.encoded += len(image)
        return super().encode(image)


class Pictures:
    """Coloured pictures, one size or two, of which one can be broken, dropped or captioned anew."""

    def __init__(self, count: int, *, broken: int = -1, captions: dict[int, str] | None = None, sizes: int = 1) -> None:
        self.count, self.broken, self.captions, self.sizes = count, broken, captions or {}, sizes

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Record:
        def load() -> Image.Image:
            if index == self.broken:
                raise UserError(f"picture {index} is broken")
            return Image.new("RGB", (16, 16) if index % self.sizes == 0 else (16, 32), (index * 9, 10, 200))

        prompts = {"red": 1.0, "a red one": 1.0} if index % 3 == 1 else None
        return Record(str(index), self.captions.get(index, "red"), load, prompts=prompts)


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_writer, "SHARD_BYTES", 4_000)


def build(path: Path, source: Pictures, recipe: str = "recipe", **changed: object) -> tuple[LatentCache, int]:
    """The cache, and how many pictures were encoded for it."""
    vae = CountingVAE(4)
    settings = {
        "fingerprint": path.name,
        "recipe": recipe,
        "identify": lambda record: record.key,
        "fit": square(16),
        "horizontal_flip": False,
        "skip_unreadable": False,
        "storage_dtype": torch.float16,
        "batch_size": 4,
        "origin": {},
    } | changed
    cache = built(path, source, lambda: (vae, WordEmbedding(32, 6)), **settings)  # type: ignore[arg-type]
    return cache, vae.encoded


def assert_alike(one: LatentCache, other: LatentCache) -> None:
    assert list(one.records) == list(other.records)
    assert one.shapes == other.shapes
    for index in range(len(one)):
        for mine, its in zip(one.gather(torch.tensor([index])), other.gather(torch.tensor([index])), strict=True):
            assert torch.equal(mine, its)


def test_only_a_new_picture_and_a_new_caption_are_encoded(tmp_path: Path) -> None:
    build(tmp_path / "one", Pictures(20))
    grown = Pictures(22, captions={6: "blue"})
    cache, encoded = build(tmp_path / "two", grown)
    assert encoded == 3
    fresh, all_encoded = build(tmp_path / "fresh", grown, recipe="another")
    assert all_encoded == 22
    assert_alike(cache, fresh)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_who_stops_while_pictures_are_encoded_is_told_that_nothing_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    caplog.set_level(logging.INFO)

    whole = CountingVAE.encode

    def stopped(vae: CountingVAE, image: Tensor) -> Tensor:
        if vae.encoded >= 8:
            raise error
        return whole(vae, image)

    monkeypatch.setattr(CountingVAE, "encode", stopped)
    with pytest.raises(error):
        build(tmp_path / "one", Pictures(20))
    monkeypatch.undo()
    assert "Stopped. What is encoded is kept: the same command goes on from there." in caplog.messages
    _, encoded = build(tmp_path / "one", Pictures(20))
    assert encoded == 12


def test_buckets_come_back_in_the_same_order(tmp_path: Path) -> None:
    sizes = nearest_bucket([(16, 16), (32, 16)])
    build(tmp_path / "one", Pictures(20, sizes=2), fit=sizes)
    cache, encoded = build(tmp_path / "two", Pictures(23, sizes=2), fit=sizes)
    assert encoded == 3
    assert_alike(cache, build(tmp_path / "fresh", Pictures(23, sizes=2), recipe="another", fit=sizes)[0])


def test_mirrored_pictures_are_taken_over_mirrored(tmp_path: Path) -> None:
    build(tmp_path / "one", Pictures(8), horizontal_flip=True)
    cache, encoded = build(tmp_path / "two", Pictures(9), horizontal_flip=True)
    assert encoded == 2
    assert_alike(cache, build(tmp_path / "fresh", Pictures(9), recipe="another", horizontal_flip=True)[0])


def test_other_encoders_share_nothing(tmp_path: Path) -> None:
    build(tmp_path / "one", Pictures(5))
    assert build(tmp_path / "two", Pictures(5), recipe="another")[1] == 5


@pytest.mark.parametrize("damage", ["shard-00001", "index", "records", "empty_prompt"])
def test_of_a_damaged_cache_what_is_whole_is_kept(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    build(tmp_path / "cache", Pictures(24))
    fresh, _ = build(tmp_path / "fresh", Pictures(24), recipe="another")
    (file,) = (tmp_path / "cache").glob(f"{damage}*")
    file.write_bytes(file.read_bytes()[:-20])
    with caplog.at_level(logging.WARNING):
        cache, encoded = build(tmp_path / "cache", Pictures(24))
    assert "the latent cache is damaged" in caplog.text
    assert 0 < encoded < 24 if damage == "shard-00001" else encoded == 0
    assert ("shard-00001.safetensors is damaged" in caplog.text) == (damage == "shard-00001")
    assert_alike(cache, fresh)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["cache", "fresh"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, OSError])
def test_a_build_that_was_stopped_goes_on_where_it_was(tmp_path: Path, stop: type[BaseException]) -> None:
    class Stopping(Pictures):
        def __getitem__(self, index: int) -> Record:
            record = super().__getitem__(index)
            if index < 13:
                return record

            def load() -> Image.Image:
                raise stop

            return Record(record.key, record.prompt, load, prompts=record.prompts)

    with pytest.raises(stop):
        build(tmp_path / "cache", Stopping(20))
    assert not (tmp_path / "cache").exists()
    cache, encoded = build(tmp_path / "cache", Pictures(20))
    assert encoded <= 8 + 4  # what was not encoded, and the batch that was on its way
    assert_alike(cache, build(tmp_path / "fresh", Pictures(20), recipe="another")[0])


@pytest.mark.parametrize("skipping", [False, True])
def test_after_one_bad_picture_no_other_is_encoded_again(tmp_path: Path, skipping: bool) -> None:
    with pytest.raises(UserError, match="picture 5 is broken"):
        build(tmp_path / "broken", Pictures(20, broken=5))
    left = Pictures(20, broken=5 if skipping else -1)
    _, encoded = build(tmp_path / "mended", left, skip_unreadable=skipping)
    assert encoded == (0 if skipping else 1)
    assert not list(tmp_path.glob("*.building"))


class Noticed(Pictures):
    """The same, each from a picture with a colour profile that cannot be used."""

    def __getitem__(self, index: int) -> Record:
        record = super().__getitem__(index)

        def load() -> Image.Image:
            picture = record.load()
            picture.info["icc_profile"] = b"broken"
            return as_rgb(picture, "white")

        return replace(record, load=load)


@pytest.mark.parametrize("parts", [1, 3])
def test_what_there_is_to_know_of_pictures_is_taken_over_with_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, parts: int
) -> None:
    caplog.set_level(logging.INFO)
    broken = "the pictures of 7 have a colour profile that cannot be used, and are taken as sRGB"
    with pytest.raises(UserError, match="picture 5 is broken"):
        build(tmp_path / "broken", Noticed(8, broken=5), horizontal_flip=True)
    assert broken not in caplog.text
    for first in (True, False):
        caplog.clear()
        cache, encoded = build(
            tmp_path / "left", Noticed(8, broken=5), skip_unreadable=True, horizontal_flip=True, parts=parts
        )
        assert encoded == 0
        assert (f"Of 14 records, encoded earlier, {broken}." in caplog.messages) == (not first)
        said = [text for text in caplog.messages if text.startswith("Of ") and "have a colour profile" in text]
        assert sum(int(text.partition("pictures of ")[2].partition(" ")[0]) for text in said) == 7
    caplog.clear()
    for shard in cache.path.rglob("shard-*.safetensors"):  # as versions that kept none of it wrote them
        save_file(load_file(shard), shard.with_suffix(".tmp"))
        shard.with_suffix(".tmp").replace(shard)
    assert build(tmp_path / "again", Noticed(8, broken=5), skip_unreadable=True, horizontal_flip=True)[1] == 0
    assert "colour profile" not in caplog.text


def test_a_build_that_encoded_nothing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="picture 0 is broken"):
        build(tmp_path / "cache", Pictures(1, broken=0))
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def rows_left(tmp_path: Path) -> list[int]:
    """How many rows each unfinished build holds."""
    return sorted(len(EarlierRows([folder])) for folder in tmp_path.glob("cache.*") if folder.is_dir())


def test_builds_that_fail_again_and_again_take_no_more_room(tmp_path: Path) -> None:
    for _ in range(5):
        with pytest.raises(UserError, match="picture 15 is broken"):
            build(tmp_path / "cache", Pictures(20, broken=15))
    assert rows_left(tmp_path) == [19, 19]


def test_a_build_that_failed_earlier_than_others_loses_none_of_their_rows(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="picture 15 is broken"):
        build(tmp_path / "cache", Pictures(20, broken=15))
    for stopped_at in ("6", "13", "2", "9", "2"):

        def identify(record: Record, stopped_at: str = stopped_at) -> str:
            if record.key == stopped_at:
                raise KeyboardInterrupt
            return record.key

        with pytest.raises(KeyboardInterrupt):
            build(tmp_path / "cache", Pictures(20), identify=identify)
        assert max(rows_left(tmp_path)) == 19
        assert len(rows_left(tmp_path)) <= 2
    assert build(tmp_path / "cache", Pictures(20))[1] == 1


def test_rows_are_kept_until_others_hold_them(tmp_path: Path) -> None:
    build(tmp_path / "few", Pictures(4))
    build(tmp_path / "more", Pictures(8, captions={6: "blue"}))
    build(tmp_path / "many", Pictures(12))
    (tmp_path / "none").mkdir()
    copytree(tmp_path / "many", tmp_path / "within" / "part")  # the parts of a cache lie deeper
    copytree(tmp_path / "few", tmp_path / "damaged")
    (tmp_path / "damaged" / "shard-00000.safetensors").write_bytes(b"")
    folders = [tmp_path / name for name in ("few", "more", "many", "none", "within", "damaged")]
    remove_doubled(folders)
    kept = {folder.name for folder in folders if folder.exists()}
    assert kept in ({"more", "many", "damaged"}, {"more", "within", "damaged"})


def test_what_another_process_removed_meanwhile_is_no_harm(tmp_path: Path) -> None:
    _remove_unfinished(tmp_path / "cache.building", tmp_path / "whole")


def test_what_is_encoded_of_other_data_is_kept(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="picture 15 is broken"):
        build(tmp_path / "stopped", Pictures(20, broken=15))
    build(tmp_path / "another", Pictures(4))  # four of the nineteen that are encoded
    assert (tmp_path / "stopped.building").is_dir()
    assert build(tmp_path / "mended", Pictures(20))[1] == 1
    assert not (tmp_path / "stopped.building").exists()


def test_an_unfinished_build_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    from filelock import FileLock

    with pytest.raises(UserError):
        build(tmp_path / "broken", Pictures(9, broken=8))
    with FileLock(tmp_path / "broken.lock"):
        build(tmp_path / "mended", Pictures(9))
        assert (tmp_path / "broken.building").is_dir()


def test_a_part_that_somebody_is_at_is_left_alone(tmp_path: Path) -> None:
    part = Part(0, 2, parts_folder(tmp_path / "other"))
    part.building.mkdir(parents=True)
    (part.building / "recipe").write_text("recipe")
    with part.lock():
        build(tmp_path / "one", Pictures(9))
        assert part.building.is_dir()
    build(tmp_path / "two", Pictures(10))
    assert not part.building.exists()


def test_a_shards_file_that_is_not_one_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    build(tmp_path / "one", Pictures(6))
    (tmp_path / "one" / "shard-00099.safetensors").write_bytes(b"\xff" * 64)
    assert build(tmp_path / "two", Pictures(6))[1] == 0
    assert "shard-00099.safetensors is damaged" in caplog.text


def test_a_cache_with_a_dot_in_its_name_is_no_leftover(tmp_path: Path) -> None:
    build(tmp_path / "v1.2-pixel", Pictures(6))
    build(tmp_path / "v1.3-pixel", Pictures(7))
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"v1.2-pixel", "v1.3-pixel"}
