import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aaa.data import cache as cache_module
from aaa.data.cache import CachedRecord, LatentCache, open_or_build
from aaa.data.fingerprint import FileDigests
from aaa.data.imagefolder import ImageFolderSource
from aaa.data.pictures import crop_and_resize, to_tensor
from aaa.data.records import Record, Source
from aaa.data.shapes import ShapesSource
from aaa.encoders.pixel import PixelVAE
from aaa.encoders.words import WordEmbedding
from aaa.errors import UserError

MakeFolder = Callable[..., Path]


def build(path: Path, source: Source, **changed: object) -> LatentCache:
    settings = {
        "fingerprint": "abc",
        "resolution": 16,
        "horizontal_flip": False,
        "skip_unreadable": False,
        "storage_dtype": torch.float16,
        "batch_size": 4,
        "origin": {},
    } | changed
    return open_or_build(path, source, lambda: (PixelVAE(4), WordEmbedding(32, 6)), **settings)  # type: ignore[arg-type]


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
    assert not list(tmp_path.glob("cache*/"))


def test_unreadable_records_can_be_left_out(
    tmp_path: Path, picture_folder: MakeFolder, caplog: pytest.LogCaptureFixture
) -> None:
    root = picture_folder(6)
    (root / "images" / "004.png").unlink()
    cache = build(tmp_path / "cache", ImageFolderSource(str(root)), skip_unreadable=True)
    assert [record.key for record in cache.records] == ["000.png", "001.png", "002.png", "003.png", "005.png"]
    assert "without 1 of 6 records" in caplog.text


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


def test_a_cache_with_missing_latents_is_refused(tmp_path: Path) -> None:
    build(tmp_path / "cache", ShapesSource(16, 5, 1))
    lines = (tmp_path / "cache" / "records.jsonl").read_text().splitlines()
    (tmp_path / "cache" / "records.jsonl").write_text("\n".join(lines[:-1]))
    with pytest.raises(UserError, match="cache is damaged"):
        LatentCache(tmp_path / "cache")


def test_a_file_is_digested_again_only_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"one")
    digests = FileDigests(tmp_path / "digests.jsonl")
    first = digests.digest(file)
    (tmp_path / "digests.jsonl").open("a").write('["half a li')
    again = FileDigests(tmp_path / "digests.jsonl")
    assert again.digest(file) == first
    file.write_bytes(b"another")
    assert again.digest(file) != first
    assert again.digest(tmp_path / "gone") == "missing"
    assert len((tmp_path / "digests.jsonl").read_text().splitlines()) == 2


@settings(max_examples=20, deadline=None)
@given(
    counts=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    factor=st.sampled_from([1, 2, 4]),
    picks=st.lists(st.integers(0, 10**6), min_size=1, max_size=8),
)
def test_any_shards_give_any_records_back(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], factor: int, picks: list[int]
) -> None:
    path = tmp_path_factory.mktemp("cache")
    writer = cache_module._Writer(path, torch.float32)
    writer.write_empty_prompt(torch.zeros(1, 2, 3))
    latents = torch.randn(sum(counts), factor, 2, 2)
    prompt_embeds = torch.randn(sum(counts), 2, 3)
    start = 0
    for count in counts:
        records = [CachedRecord(str(i), f"prompt {i}", None) for i in range(start, start + count)]
        writer.write(records, latents[start : start + count], prompt_embeds[start : start + count])
        writer._flush()
        start += count
    writer.close(fingerprint="x")
    cache = LatentCache(path)
    indices = torch.tensor(picks) % len(cache)
    found = cache.gather(indices)
    assert torch.equal(found[0], latents[indices])
    assert torch.equal(found[1], prompt_embeds[indices])
    assert json.loads((path / "index.json").read_text())["latent_shape"] == [factor, 2, 2]


@pytest.mark.parametrize("damage", ["shard", "index", "records", "empty_prompt"])
def test_a_damaged_cache_is_named(tmp_path: Path, damage: str) -> None:
    build(tmp_path / "cache", ShapesSource(16, 5, 1))
    (file,) = (tmp_path / "cache").glob(f"{damage}*")
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"cache: the latent cache is damaged .*Delete the folder"):
        LatentCache(tmp_path / "cache")
