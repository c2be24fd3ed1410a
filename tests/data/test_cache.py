import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aaa.data import cache_writer as cache_module
from aaa.data.buckets import bucket_sizes, nearest_bucket, square
from aaa.data.cache import LatentCache
from aaa.data.cache_writer import CacheWriter
from aaa.data.cached_records import CachedRecord
from aaa.data.encoding import Fit, batch_that_fits
from aaa.data.imagefolder import ImageFolderSource
from aaa.data.pictures import crop_and_resize, to_tensor
from aaa.data.randomness import generator
from aaa.data.records import Record, Source
from aaa.data.shapes import ShapesSource
from aaa.encoders.pixel import PixelVAE
from aaa.encoders.words import WordEmbedding
from aaa.errors import UserError
from aaa.evaluation.validation import content_hashes
from tests.helpers.built_cache import built

needs_gpu = pytest.mark.gpu

MakeFolder = Callable[..., Path]


def build(path: Path, source: Source, **changed: object) -> LatentCache:
    settings = {
        "fingerprint": "abc",
        "recipe": "def",
        "identify": lambda record: record.key,
        "fit": square(16),
        "horizontal_flip": False,
        "skip_unreadable": False,
        "storage_dtype": torch.float16,
        "batch_size": 4,
        "origin": {},
        "encoders": lambda: (PixelVAE(4), WordEmbedding(32, 6)),
    } | changed
    return built(path, source, **settings)  # type: ignore[arg-type]


def test_what_is_cached_is_what_the_encoders_gave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "SHARD_BYTES", 10_000)  # several shards
    source = ShapesSource(16, num_records=20, num_validation=3)
    cache = build(tmp_path / "cache", source)
    assert len(list((tmp_path / "cache").glob("shard-*.safetensors"))) > 2
    assert len(cache) == 23
    indices = torch.tensor([22, 0, 7, 7, 13])
    latents, prompt_embeds = cache.gather(indices)
    vae, words = PixelVAE(4), WordEmbedding(32, 6)
    for row, index in enumerate(indices.tolist()):
        record = source[index]
        image = to_tensor(crop_and_resize(record.load(), 16, 16))
        # float16 holds 8-bit pixels: rounding them back is exact.
        assert torch.equal(((vae.decode(latents[row : row + 1])[0] + 1) * 127.5).round(), ((image + 1) * 127.5).round())
        torch.testing.assert_close(prompt_embeds[row], words.encode([record.prompt])[0][0], atol=1e-2, rtol=1e-3)
        assert cache.records[index].prompt == record.prompt
        assert cache.records[index].split == record.split
    assert cache.empty_prompt_embeds.abs().max() == 0


def test_a_built_cache_is_not_built_again(tmp_path: Path) -> None:
    source = ShapesSource(16, 5, 1)
    build(tmp_path / "cache", source)

    class Untouchable:
        def __len__(self) -> int:
            raise AssertionError("the source was read again")

        def __getitem__(self, index: int) -> Record:
            raise AssertionError("the source was read again")

    assert len(build(tmp_path / "cache", Untouchable())) == 6


def test_flips_are_cached_for_training_records_only(tmp_path: Path) -> None:
    cache = build(tmp_path / "cache", ShapesSource(16, 4, 2), horizontal_flip=True)
    assert len(cache) == 10
    assert [(record.key, record.flipped) for record in cache.records[6:]] == [
        (f"train-{i:06d}", True) for i in range(4)
    ]
    plain, flipped = (PixelVAE(4).decode(cache.gather(torch.tensor([index]))[0]) for index in (1, 7))
    assert torch.equal(plain.flip(-1), flipped)


def test_all_unreadable_records_are_named_at_once(tmp_path: Path, picture_folder: MakeFolder) -> None:
    root = picture_folder(30)
    for index in range(2, 27):
        (root / "images" / f"{index:03d}.png").write_bytes(b"" if index % 2 else b"nonsense")
    source = ImageFolderSource(str(root))
    with pytest.raises(UserError) as error:
        build(tmp_path / "cache", source)
    message = str(error.value)
    assert message.startswith("25 of 30 records cannot be read:\n  metadata.csv:4: image '002.png' is not a picture")
    assert "metadata.csv:5: image '003.png' is empty (0 bytes)" in message
    assert "... and 5 more" in message
    assert message.count("metadata.csv") == 20
    assert "data.skip_unreadable=true" in message
    assert not (tmp_path / "cache").exists()


def test_unreadable_records_can_be_left_out(
    tmp_path: Path, picture_folder: MakeFolder, caplog: pytest.LogCaptureFixture
) -> None:
    root = picture_folder(6)
    (root / "images" / "004.png").unlink()
    cache = build(tmp_path / "cache", ImageFolderSource(str(root)), skip_unreadable=True)
    assert [record.key for record in cache.records] == ["000.png", "001.png", "002.png", "003.png", "005.png"]
    assert "without 1 of 6 records" in caplog.text


@pytest.mark.parametrize("fit", [square(16), nearest_bucket(bucket_sizes(16, 4, 2.0))], ids=["square", "buckets"])
def test_what_is_cached_does_not_depend_on_how_many_are_encoded_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fit: Fit
) -> None:
    monkeypatch.setattr(cache_module, "SHARD_BYTES", 10_000)  # several shards
    source = Numbered(40)
    for batch_size in (1, 3, 64):
        build(tmp_path / str(batch_size), source, fit=fit, batch_size=batch_size, horizontal_flip=True)
    one, three, all_at_once = (
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir() if file.name != "index.json"}
        for name in ("1", "3", "64")
    )
    assert len(one) > 5
    assert one == three == all_at_once


def test_large_pictures_are_encoded_a_few_at_once() -> None:
    assert [batch_that_fits(256, side) for side in (32, 128, 512, 1024, 8192)] == [256, 256, 16, 4, 1]
    assert batch_that_fits(8, 64) == 8


def test_a_disk_without_room_is_refused_before_more_is_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def identify(record: Record) -> str:
        read.append(record.key)
        return record.key

    usage = cache_module.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda _: usage._replace(free=400_000))
    with pytest.raises(
        UserError, match=r"cache\.building: the disk has 0\.00 GiB free, .* of 1000 records .*data\.cache_dir"
    ):
        build(tmp_path / "cache", ShapesSource(16, 1000, 0), identify=identify)
    assert len(set(read)) < 50
    assert len(build(tmp_path / "few", ShapesSource(16, 100, 0))) == 100


@pytest.mark.parametrize("written", [0, 5])
def test_a_disk_that_fills_up_says_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int) -> None:
    monkeypatch.setattr(cache_module, "SHARD_BYTES", 1)  # a shard each
    save = cache_module.save_tensors

    def until_full(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
        if path.name == f"shard-{written:05d}.safetensors.tmp":
            raise OSError(28, "No space left on device")
        save(tensors, path, metadata)

    monkeypatch.setattr(cache_module, "save_tensors", until_full)
    with pytest.raises(UserError, match=r"cannot be written \(No space left on device\)") as error:
        build(tmp_path / "cache", ShapesSource(16, 20, 0))
    told = str(error.value).partition("data.cache_dir=FOLDER.")[2]
    assert told == (" The 5 records written already are not encoded again." if written else "")


def test_records_with_an_empty_prompt_are_named(
    tmp_path: Path, picture_folder: MakeFolder, caplog: pytest.LogCaptureFixture
) -> None:
    root = picture_folder(8)
    rows = "".join(f"{index:03d}.png,{' ' if index > 2 else 'red'}\n" for index in range(8))
    (root / "metadata.csv").write_text("image,prompt\n" + rows)
    build(tmp_path / "cache", ImageFolderSource(str(root)))
    assert "5 of 8 records have an empty prompt, e.g. 003.png, 004.png, 005.png" in caplog.text


def test_nothing_readable_is_an_error(tmp_path: Path, picture_folder: MakeFolder) -> None:
    root = picture_folder(2)
    for picture in (root / "images").iterdir():
        picture.unlink()
    with pytest.raises(UserError, match="data set is empty"):
        build(tmp_path / "cache", ImageFolderSource(str(root)), skip_unreadable=True)


def test_prompts_that_are_cut_are_counted_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        build(tmp_path / "cache", ShapesSource(16, 5, 1))
    assert "6 of 6 prompts are longer than 6 tokens and were cut" in caplog.text


def test_of_several_prompts_each_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Wordy(Captioned):
        def __getitem__(self, index: int) -> Record:
            prompts = {"a": 1.0, "one two three four five six seven": 1.0, "seven six five four three two one": 1.0}
            return replace(super().__getitem__(index), prompts=prompts)

    with caplog.at_level(logging.WARNING):
        build(tmp_path / "cache", Wordy())
    assert "6 of 9 prompts are longer than 6 tokens and were cut" in caplog.text


def test_who_takes_a_cache_over_is_told_what_it_is_without(
    tmp_path: Path, picture_folder: MakeFolder, caplog: pytest.LogCaptureFixture
) -> None:
    root = picture_folder(6)
    (root / "images" / "004.png").unlink()
    (root / "metadata.csv").write_text(
        "image,prompt\n" + "".join(f"{index:03d}.png,one two three four five six seven\n" for index in range(6))
    )
    for told in (False, True):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            build(tmp_path / "cache", ImageFolderSource(str(root)), skip_unreadable=True)
        without = "without 1 record that could not be read and what 5 prompts have beyond 6 tokens."
        assert (f"These latents were encoded earlier, {without}" in caplog.text) == told
    caplog.clear()
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            build(tmp_path / "whole", Captioned())
    assert "encoded earlier" not in caplog.text


def test_a_cache_with_missing_latents_is_refused(tmp_path: Path) -> None:
    fewer = build(tmp_path / "fewer", ShapesSource(16, 4, 1))
    build(tmp_path / "cache", ShapesSource(16, 5, 1))
    (fewer.path / "records.arrow").replace(tmp_path / "cache" / "records.arrow")
    with pytest.raises(UserError, match=r"cache is damaged .*5 records, 6 latents"):
        LatentCache(tmp_path / "cache")


@settings(max_examples=20)
@given(
    batches=st.lists(st.tuples(st.integers(1, 5), st.sampled_from([1, 2, 3])), min_size=1, max_size=5),
    shard_bytes=st.sampled_from([1, 200, 10**6]),
    picks=st.lists(st.integers(0, 10**6), min_size=1, max_size=8),
)
def test_any_shards_give_any_records_back(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[tuple[int, int]],
    shard_bytes: int,
    picks: list[int],
) -> None:
    path = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache_module, "SHARD_BYTES", shard_bytes)
        writer = CacheWriter(path, torch.float32, "recipe")
        writer.write_empty_prompt(torch.zeros(1, 2, 3), tokens=0)
        written: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        for count, height in batches:
            latents = torch.randn(count, 4, height, 2)
            captions = [1 + (len(written) + i) % 3 for i in range(count)]
            prompt_embeds = torch.randn(sum(captions), 2, 3)
            records = [
                CachedRecord(str(len(written) + i), [f"caption {c}" for c in range(captions[i])], None)
                for i in range(count)
            ]
            tokens = [2] * len(prompt_embeds)
            writer.write(records, latents, prompt_embeds, tokens, [bytes(16)] * count)
            for record, latent, embeds in zip(records, latents, prompt_embeds.split(captions), strict=True):
                written[record.key] = latent, embeds
        writer.close(fingerprint="x")
    cache = LatentCache(path)
    assert sorted(record.key for record in cache.records) == sorted(written)
    for index in (pick % len(cache) for pick in picks):
        latent, embeds = written[cache.records[index].key]
        assert cache.shapes[int(cache.shape_ids[torch.tensor(index)])] == tuple(latent.shape)
        for caption in range(len(embeds)):
            found = cache.gather(torch.tensor([index]), torch.tensor([caption]))
            assert torch.equal(found[0][0], latent)
            assert torch.equal(found[1][0], embeds[caption])
    shape_ids = cache.shape_ids[torch.arange(len(cache))]
    alike = torch.nonzero(shape_ids == shape_ids[picks[0] % len(cache)])[:, 0].flip(0)
    together = cache.gather(alike)
    for row, index in enumerate(alike.tolist()):
        latent, embeds = written[cache.records[index].key]
        assert torch.equal(together[0][row], latent)
        assert torch.equal(together[1][row], embeds[0])


class Captioned:
    """Three pictures, tall, wide and square, with captions of which one is three times as likely."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Record:
        size = [(20, 40), (60, 30), (32, 32)][index]
        prompts = {"short": 3.0, "long and wordy": 1.0} if index else None
        return Record(str(index), "short", lambda: Image.new("RGB", size, "red"), prompts=prompts)


class Numbered:
    """Pictures of three shapes by turns, of different colours and captions."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Record:
        size = [(16, 32), (32, 16), (16, 16)][index % 7 % 3]
        return Record(str(index), f"number {index}", lambda: Image.new("RGB", size, (index, 90, 30)))


def test_captions_are_drawn_by_weight(tmp_path: Path) -> None:
    cache = build(tmp_path / "cache", Captioned())
    assert [list(record.prompts) for record in cache.records] == [["short"], *[["short", "long and wordy"]] * 2]
    drawn = cache.draw_captions(torch.tensor([0, 1, 2]).repeat(2000), generator("captions"))
    assert drawn is not None
    assert drawn[0::3].sum() == 0
    assert drawn[1::3].float().mean().item() == pytest.approx(0.25, abs=0.03)
    words = WordEmbedding(32, 6)
    _, prompt_embeds = cache.gather(torch.tensor([1, 1]), torch.tensor([0, 1]))
    torch.testing.assert_close(prompt_embeds, words.encode(["short", "long and wordy"])[0], atol=1e-2, rtol=1e-3)
    assert build(tmp_path / "single", ShapesSource(16, 3, 1)).draw_captions(torch.tensor([0]), generator("x")) is None


def test_each_record_comes_with_its_own_caption_whichever_shards_they_are_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "SHARD_BYTES", 1)  # a shard each
    cache = build(tmp_path / "cache", Captioned())
    _, found = cache.gather(torch.tensor([1, 0, 2, 1]), torch.tensor([1, 0, 0, 0]))
    expected, _ = WordEmbedding(32, 6).encode(["long and wordy", "short", "short", "short"])
    torch.testing.assert_close(found, expected, atol=1e-2, rtol=1e-3)


class SpeltTwice:
    """A picture with a caption in two forms of Unicode, which are one, and with another."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Record:
        prompts = {"caf\u00e9": 1.0, "cafe\u0301": 2.0, "tea": 1.0}
        return Record("0", "caf\u00e9", lambda: Image.new("RGB", (16, 16), "red"), prompts=prompts)


def test_a_caption_in_two_forms_has_the_weight_of_both(tmp_path: Path) -> None:
    (record,) = build(tmp_path / "cache", SpeltTwice()).records
    assert record.prompts == ["caf\u00e9", "tea"]
    spelt, other = record.prompt_weights
    assert spelt == 3 * other


def test_buckets_keep_tall_and_wide_pictures_whole(tmp_path: Path) -> None:
    sizes = bucket_sizes(32, 4, 2.0)
    cache = build(tmp_path / "cache", Captioned(), fit=nearest_bucket(sizes))
    shapes = {record.key: cache.shapes[int(cache.shape_ids[torch.tensor(i)])] for i, record in enumerate(cache.records)}
    assert shapes == {"0": (48, 10, 6), "1": (48, 6, 10), "2": (48, 8, 8)}
    records = torch.tensor([2, 0, 1])
    alone = [content_hashes(cache, record[None])[0] for record in records]
    assert content_hashes(cache, records) == alone, "in their order, whatever their shapes are"
    assert len(set(alone)) == 3


@pytest.mark.parametrize("damage", ["shard", "index", "records", "empty_prompt"])
def test_a_damaged_cache_is_named(tmp_path: Path, damage: str) -> None:
    build(tmp_path / "cache", ShapesSource(16, 5, 1))
    (file,) = (tmp_path / "cache").glob(f"{damage}*")
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"cache: the latent cache is damaged .*is encoded again"):
        LatentCache(tmp_path / "cache")


def test_prompts_are_trimmed_to_the_longest(tmp_path: Path) -> None:
    def encoders() -> tuple[PixelVAE, WordEmbedding]:
        return PixelVAE(4), WordEmbedding(32, 40)

    cache = build(tmp_path / "cache", ShapesSource(16, 6, 1), encoders=encoders, storage_dtype=torch.float32)
    whole = cache.gather(torch.arange(7))[1]
    longest = max(len(WordEmbedding(32, 40).tokenize(record.prompt)) for record in cache.records)
    assert 8 < longest <= 16
    cache.trim_prompts()
    assert cache.prompt_shape == (16, 32)
    assert cache.empty_prompt_embeds.shape == (16, 32)
    assert torch.equal(cache.gather(torch.arange(7))[1], whole[:, :16])
    assert whole[:, 16:].abs().max() == 0


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])
def test_a_cache_in_a_devices_memory_gives_the_same(tmp_path: Path, device: str) -> None:
    cache = build(tmp_path / "cache", Captioned())
    cache.trim_prompts()
    records, captions = torch.tensor([1, 1, 1]), torch.tensor([0, 1, 0])
    before, size = cache.gather(records, captions), cache.nbytes
    cache.move_to(torch.device(device))
    after = cache.gather(records, captions)
    assert cache.nbytes == size
    assert all(tensor.device.type == device for tensor in after)
    assert all(torch.equal(one, other.cpu()) for one, other in zip(before, after, strict=True))
