"""A cache encoded in parts, by one process after the other or by several at once, is the cache that one would make."""

import json
import multiprocessing
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from torch import Tensor

from aaa.data import cache_writer
from aaa.data.buckets import square
from aaa.data.build_cache import CacheBuilder
from aaa.data.cache import LatentCache
from aaa.data.cache_parts import Part, parts_folder
from aaa.data.encoding import Pictures
from aaa.data.file_hash import sha256_of
from aaa.data.shapes import ShapesSource
from aaa.encoders.pixel import PixelVAE
from aaa.encoders.statistics import LatentStatistics, Moments, pooled
from aaa.encoders.words import WordEmbedding
from aaa.errors import UserError
from tests.data.test_reuse import CountingVAE, assert_alike
from tests.data.test_reuse import Pictures as Broken


def builder(path: Path, count: int = 11, vae: PixelVAE | None = None, broken: int = -1) -> CacheBuilder:
    source = ShapesSource(16, count, 2) if broken < 0 else Broken(count, broken=broken)
    return CacheBuilder(
        path,
        Pictures(source, lambda record: record.key, square(16), True, False, 4),
        lambda: (vae or PixelVAE(4), WordEmbedding(32, 6)),
        fingerprint="abc",
        recipe="def",
        storage_dtype=torch.float16,
        origin={},
    )


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_writer, "SHARD_BYTES", 3_000)


def shards_of(path: Path) -> dict[str, int]:
    return {file.name: file.stat().st_ino for file in path.rglob("shard-*.safetensors")}


def test_parts_are_put_together_where_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = builder(tmp_path / "alone" / "cache").open()
    path = tmp_path / "parts" / "cache"
    for number in (2, 0, 1):
        assert builder(path).open_part(number, 4) is None
    assert not path.exists()
    lying = {file.stat().st_ino for file in parts_folder(path).rglob("shard-*")}
    monkeypatch.setattr(cache_writer, "LARGE", 10)
    cache = builder(path).open_part(3, 4)
    assert cache is not None
    assert_alike(cache, whole)
    assert cache.placed is not None
    assert len(cache.placed) == len(cache) == 24
    assert lying < {file.stat().st_ino for file in path.rglob("shard-*")}
    assert json.loads((path / "index.json").read_text())["build"]["records"] == 24
    assert [child.name for child in path.parent.iterdir()] in (["cache", "cache.lock"], ["cache.lock", "cache"])
    assert_alike(builder(path).open(), whole)


def test_more_parts_than_pictures_are_no_harm(tmp_path: Path) -> None:
    cache = builder(tmp_path / "parts" / "cache", count=1).open(parts=9, first=5)
    assert_alike(cache, builder(tmp_path / "alone" / "cache", count=1).open())


def test_a_killed_part_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    with pytest.raises(UserError, match="1 of 10 records cannot be read"):
        builder(path, count=20, broken=7).open_part(0, 4)
    part = Part(0, 4, parts_folder(path))
    assert not part.is_whole()
    assert part.building.is_dir()
    vae = CountingVAE(4)
    mended = builder(path, count=20, vae=vae, broken=99)
    assert mended.open_part(0, 4) is None
    assert 0 < vae.encoded < 10
    cache = mended.open(parts=4)
    assert vae.encoded < 40
    assert len(cache) == 40
    assert sorted(file.name for file in path.iterdir() if file.is_dir()) == [f"part-{n:05d}-of-00004" for n in range(4)]


def _encode(path: Path, first: int) -> None:
    builder(path, count=40).open(parts=3, first=first)


@pytest.mark.slow
def test_processes_share_the_parts_out(tmp_path: Path) -> None:
    """One part is of nobody: whoever is done takes it."""
    path = tmp_path / "cache"
    started = multiprocessing.get_context("spawn")  # a fork of a process that has threads may wait for one for ever
    processes = [started.Process(target=_encode, args=(path, first)) for first in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert_alike(LatentCache(path), builder(tmp_path / "alone" / "cache", count=40).open())


def test_a_part_that_somebody_is_at_is_waited_for(tmp_path: Path) -> None:
    part = Part(1, 2, parts_folder(tmp_path / "cache"))
    own = builder(tmp_path / "cache")
    parts_folder(tmp_path / "cache").mkdir(parents=True)
    with FileLock(part.lock().lock_file):
        assert own._build_part(part) is False
    assert own._build_part(part) is True


def test_who_divides_otherwise_goes_on_while_others_put_theirs_together(tmp_path: Path) -> None:
    path = tmp_path / "cache"

    class Overtaken(PixelVAE):
        overtaken = False

        def encode(self, image: Tensor) -> Tensor:
            if not self.overtaken:
                self.overtaken = True
                builder(path).open(parts=2)
                assert Part(1, 3, parts_folder(path)).building.is_dir()
            return super().encode(image)

    cache = builder(path, vae=Overtaken(4)).open(parts=3, first=1)
    assert_alike(cache, builder(tmp_path / "alone" / "cache").open())
    assert {file.name for file in path.iterdir() if file.is_dir()} == {"part-00000-of-00002", "part-00001-of-00002"}
    assert {file.name for file in tmp_path.iterdir()} == {"cache", "cache.lock", "alone"}


def test_parts_that_were_never_put_together_go_once_the_cache_is_there(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    builder(path).open_part(0, 2)
    with pytest.raises(UserError, match="cannot be read"):
        builder(path, broken=7).open_part(1, 2)
    vae = CountingVAE(4)
    builder(path, vae=vae).open()
    assert 0 < vae.encoded < 24
    assert {file.name for file in tmp_path.iterdir()} == {"cache", "cache.lock"}


def test_parts_of_a_killed_process_go_with_the_next_build(tmp_path: Path) -> None:
    builder(tmp_path / "one").open()
    folder = parts_folder(tmp_path / "one")
    for name in ("part-00000-of-00002", "part-00001-of-00002.earlier-123"):
        (folder / name).mkdir(parents=True)
        (folder / name / "recipe").write_text("def")
    with Part(1, 2, folder).lock():
        builder(tmp_path / "two", count=12).open()
        assert (folder / "part-00000-of-00002").is_dir()
    builder(tmp_path / "three", count=13).open()
    assert not folder.exists()


def test_what_lies_beside_the_parts_has_its_hash_in_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_writer, "LARGE", 10)
    cache = builder(tmp_path / "cache").open(parts=2)
    hashes = json.loads((cache.path / "index.json").read_text())["sha256"]
    files = {str(file.relative_to(cache.path)) for file in cache.path.rglob("*") if file.is_file()}
    assert files >= {"empty_prompt.safetensors", "places.npy", "sides.npy"}
    assert all(hashes[name] == sha256_of(cache.path / name) for name in hashes)
    own = {name for name in files if not name.endswith(("index.json", "recipe"))}
    assert own == set(hashes)


def test_statistics_of_parts_are_those_of_all() -> None:
    draws = torch.Generator().manual_seed(0)
    parts = [torch.randn(count, 3, 2, 2, generator=draws) * 2 + count for count in (2, 5, 9)]
    parts[0][:, 2] = parts[1][:, 2] = parts[2][:, 2] = 1  # a channel that never varies
    statistics: list[tuple[LatentStatistics, int]] = []
    everything = Moments()
    for part in parts:
        moments = Moments()
        moments.add(part)
        everything.add(part)
        statistics.append((moments.statistics(), part[:, 0].numel()))
    for name, values in asdict(pooled(statistics)).items():
        assert values == pytest.approx(asdict(everything.statistics())[name], rel=1e-9)
