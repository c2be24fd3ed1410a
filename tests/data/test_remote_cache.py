"""A cache that lies elsewhere: read as one here is, from copies that never take more than their room."""

import http.server
import itertools
import json
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from aaa.data import cache_writer, grouped_order, remembering_cache, remote_folder
from aaa.data.cache import LatentCache
from aaa.data.cache_extras import open_extra
from aaa.data.grouped_order import GroupedOrder
from aaa.data.kept import KeptRecords
from aaa.data.mixed_cache import MixedCache
from aaa.data.mixed_split import split_cache, split_mixture
from aaa.data.permutation import permuted
from aaa.data.remote_cache import RemoteCache
from aaa.errors import UserError
from aaa.run.latent_loader import LatentLoader
from tests.data.test_large_cache import numbered, write
from tests.helpers import like_windows
from tests.helpers.earlier_cache import as_earlier_version

CPU = torch.device("cpu")
ROOM = 2**40
NAMES = itertools.count()

Upload = Callable[[Path], str]


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_folder, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(remote_folder, "ATTEMPTS", 2)
    monkeypatch.setattr(cache_writer, "SHARD_BYTES", 60)  # three records of three floats and two of a prompt


@pytest.fixture
def upload() -> Upload:
    """Copies a cache into fsspec's file system in memory, and says where."""

    def copy(path: Path) -> str:
        address = f"memory://{next(NAMES)}/{path.name}"
        files, root = fsspec.core.url_to_fs(address)
        for file in path.rglob("*"):
            if file.is_file():
                files.pipe_file(f"{root}/{file.relative_to(path)}", file.read_bytes())
        return address

    return copy


def shard_files(cache: RemoteCache) -> list[Path]:
    return [*(cache.path / "shards").glob("*.safetensors*")]


def on_disk(cache: RemoteCache) -> int:
    """What all copies take up, at a moment when none is made or removed."""
    with FileLock(cache.path / "shards" / "locks" / "room.lock"):
        return sum(file.stat().st_size for file in shard_files(cache))


def shard_bytes(path: Path) -> int:
    return max(file.stat().st_size for file in path.glob("shard-*"))


@pytest.mark.parametrize("large", [False, True])
def test_with_room_for_all_it_is_read_and_ordered_as_one_here(
    tmp_path: Path, upload: Upload, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    monkeypatch.setattr(cache_writer, "LARGE", 20 if large else 1000)
    here = LatentCache(write(tmp_path / "cache", numbered(31, captions=2)))
    there = RemoteCache(upload(here.path), tmp_path / "copies", ROOM)
    assert len(here.shard_sizes) > 8
    assert (there.placed is not None) == large
    assert not shard_files(there)  # nothing is fetched before it is needed
    assert [*there.records] == [*here.records]
    assert (there.fingerprint, there.nbytes, there.largest) == (here.fingerprint, here.nbytes, here.largest)
    loaders = []
    for cache in (here, there):
        train, held_out = split_cache(cache, 0.2)
        loaders.append((LatentLoader(cache, train, 4, 1, seed=3, device=CPU), held_out))
    (ours, held_out), (theirs, held_out_there) = loaders
    assert torch.equal(held_out, held_out_there)
    for start in range(0, 60, 4):
        positions = range(start, start + 4)
        assert ours.records_at(positions) == theirs.records_at(positions)
        for one, other in zip(ours.batches(positions)[:4], theirs.batches(positions)[:4], strict=True):
            assert torch.equal(one, other)
    theirs.close()


@pytest.mark.parametrize(
    ("heights", "large", "on_windows"),
    [((1,), False, False), ((1, 2), False, False), ((1,), True, False), ((1, 2), True, False), ((1, 2), False, True)],
)
def test_with_room_for_few_shards_no_more_are_here_and_every_record_comes(
    tmp_path: Path,
    upload: Upload,
    monkeypatch: pytest.MonkeyPatch,
    heights: tuple[int, ...],
    large: bool,
    on_windows: bool,
) -> None:
    if on_windows:  # which removes nothing that is mapped
        monkeypatch.setattr("os.unlink", like_windows.removed(os.unlink))
    monkeypatch.setattr(cache_writer, "LARGE", 20 if large else 1000)
    path = write(tmp_path / "cache", numbered(40), heights)
    limit = 6 * shard_bytes(path)
    here, address = LatentCache(path), upload(path)
    there = RemoteCache(address, tmp_path / "copies", limit)
    assert len(there.shard_sizes) > 12
    train, _ = split_cache(there, 0.1)
    loader = LatentLoader(there, train, 4, 1, seed=0, device=CPU)
    visited: list[list[int]] = []
    for step in range(40):
        positions = range(4 * step, 4 * step + 4)
        visited.append(loader.records_at(positions))
        assert torch.equal(loader.batches(positions).latents, here.gather(torch.tensor(visited[-1]))[0])
        assert on_disk(there) <= limit
    loader.close()
    there._shards._open.clear()  # as a process that has ended; what one holds others cannot remove on Windows
    counts = torch.bincount(torch.tensor(visited).flatten(), minlength=40)
    kept = train[torch.arange(len(train))] if isinstance(train, KeptRecords) else train
    assert set(counts.nonzero()[:, 0].tolist()) == set(kept.tolist())
    assert int(counts.max()) <= int(counts[kept].min()) + 2
    # Who goes on from anywhere gets the same, whatever lies there of the run before.
    again = RemoteCache(address, tmp_path / "copies", limit)
    resumed = LatentLoader(again, split_cache(again, 0.1)[0], 4, 1, seed=0, device=CPU)
    for step in range(25, 30):
        assert resumed.records_at(range(4 * step, 4 * step + 4)) == visited[step]
        latents = resumed.batches(range(4 * step, 4 * step + 4)).latents
        assert torch.equal(latents, here.gather(torch.tensor(visited[step]))[0])
    resumed.close()


def test_room_for_less_than_two_shards_of_each_shape_is_told(
    tmp_path: Path, upload: Upload, caplog: pytest.LogCaptureFixture
) -> None:
    address = upload(write(tmp_path / "cache", numbered(60), (1, 2, 3)))
    shapes = LatentCache(tmp_path / "cache").folder.latents
    sizes = [file.stat().st_size for file in sorted((tmp_path / "cache").glob("shard-*"))]
    needed = sum(2 * max(s for s, shard in zip(sizes, shapes, strict=True) if shard.shape[2] == h) for h in (1, 2, 3))
    RemoteCache(address, tmp_path / "enough", needed)
    assert not caplog.records
    RemoteCache(address, tmp_path / "little", needed - 1)
    assert f"two shards of each of the 3 shapes of {address} take {needed / 2**30:.4g} GiB" in caplog.text


def test_several_processes_share_the_copies_and_their_room(tmp_path: Path, upload: Upload) -> None:
    path = write(tmp_path / "cache", numbered(40))
    here, address, limit = LatentCache(path), upload(path), 4 * shard_bytes(path)
    caches = [RemoteCache(address, tmp_path / "copies", limit) for _ in range(3)]  # as three processes would
    wrong: list[int] = []
    most: list[int] = []

    def look(cache: RemoteCache, seed: int) -> None:
        for index in torch.randperm(40, generator=torch.Generator().manual_seed(seed)).tolist():
            if not torch.equal(cache.batch(torch.tensor([index])).latents, here.gather(torch.tensor([index]))[0]):
                wrong.append(index)
            most.append(on_disk(cache))

    threads = [threading.Thread(target=look, args=(cache, seed)) for seed, cache in enumerate(caches)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(most) == 120
    assert limit // 2 <= max(most) <= limit


def test_shards_are_fetched_ahead_as_far_as_there_is_room(tmp_path: Path, upload: Upload) -> None:
    path = write(tmp_path / "cache", numbered(40))
    limit = 6 * shard_bytes(path)
    there = RemoteCache(upload(path), tmp_path / "copies", limit)
    loader = LatentLoader(there, split_cache(there, 0.1)[0], 2, 1, seed=0, device=CPU)
    loader.batches(range(2))
    for _ in range(100):
        if len(shard_files(there)) >= 5:
            break
        threading.Event().wait(0.05)
    assert len(shard_files(there)) >= 5
    loader.close()


def test_what_is_validated_on_is_fetched_once(tmp_path: Path, upload: Upload) -> None:
    path = write(tmp_path / "cache", numbered(40))
    here, there = LatentCache(path), RemoteCache(upload(path), tmp_path / "copies", 2 * shard_bytes(path))
    held_out = torch.tensor([39, 0, 17, 17, 30, 8])
    for _ in range(2):
        for one, other in zip(here.gather(held_out), there.gather(held_out), strict=True):
            assert torch.equal(one, other)
    fetched = {file.name for file in shard_files(there)}
    there.batch(torch.tensor([20, 21]))
    there.gather(held_out)
    assert {file.name for file in shard_files(there)} != fetched
    assert torch.equal(there.gather(torch.tensor([8, 39]))[0], here.gather(torch.tensor([8, 39]))[0])
    here.prompt_shape = there.prompt_shape = (0, 2)  # as trimming does
    assert there.gather(held_out)[1].shape == here.gather(held_out)[1].shape
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(there, "read", lambda *_: pytest.fail("was read again"))
        there.gather(held_out)


def test_what_is_computed_of_all_records_once_is_not_remembered(
    tmp_path: Path, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = RemoteCache(upload(write(tmp_path / "cache", numbered(12))), tmp_path / "copies", ROOM)
    record = sum(part.nbytes for part in there.read(torch.tensor([0])))
    monkeypatch.setattr(remembering_cache, "KEPT_BYTES", 3 * record)
    open_extra(there, "double", "v1", lambda latents: 2 * latents)
    assert there.batch(torch.tensor([5])).extras["double"].flatten().tolist() == [10] * 3
    held_out = torch.tensor([2, 11, 7])  # as many as are remembered
    latents, _ = there.gather(held_out)
    monkeypatch.setattr(there, "read", lambda *_: pytest.fail("was read again"))
    assert torch.equal(there.gather(held_out)[0], latents)


@settings(max_examples=40)
@given(
    counts=st.lists(st.integers(1, 7), min_size=1, max_size=12),
    room=st.integers(1, 30),
    seed=st.integers(0, 3),
    start=st.integers(0, 21),
)
def test_an_epoch_is_shuffled_a_few_shards_at_a_time(counts: list[int], room: int, seed: int, start: int) -> None:
    total = sum(counts)
    ends = torch.tensor(counts).cumsum(0)
    places = torch.stack([ends - torch.tensor(counts), ends], dim=1)
    shard_of = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    records = 100 + torch.arange(total)
    order = GroupedOrder(records, places, counts, room, seed)
    visited = order[range(2 * total + 20)]
    for epoch in range(2):
        own = visited[epoch * total : (epoch + 1) * total]
        assert sorted(own.tolist()) == records.tolist()
        # Shards that are begun and not yet finished fit into the room, or are one.
        last = {int(shard): place for place, shard in enumerate(shard_of[own - 100].tolist())}
        first = {int(shard): place for place, shard in reversed([*enumerate(shard_of[own - 100].tolist())])}
        for place in range(total):
            begun = [shard for shard in first if first[shard] <= place <= last[shard]]
            assert len(begun) == 1 or sum(counts[shard] for shard in begun) <= room
    again = GroupedOrder(records, places, counts, room, seed)
    assert torch.equal(again[range(start, 2 * total + 20)], visited[start:])


def test_shards_and_what_is_in_a_group_of_them_have_orders_of_each_epoch_and_seed() -> None:
    eight = torch.arange(8)
    alone = torch.stack([5 * eight, 5 * eight + 5], dim=1)  # each shard a group
    together = torch.tensor([[0, 40]])
    for places, nbytes in ((alone, [5] * 8), (together, [40])):
        first, second = GroupedOrder(torch.arange(40), places, nbytes, 5, 0)[range(80)].split(40)
        other = GroupedOrder(torch.arange(40), places, nbytes, 5, 1)[range(40)]
        visited = [first, second, other]
        shards = [own[::5] // 5 for own in visited] if len(places) > 1 else visited
        assert len({tuple(own.tolist()) for own in shards}) == 3


def test_threads_may_ask_for_different_epochs_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    places = torch.tensor([[0, 5], [5, 8], [8, 12], [12, 19]])
    order = GroupedOrder(torch.arange(19), places, [5, 3, 4, 7], 8, 0)
    expected = order[range(38)]

    def interrupted(*of: Any) -> torch.Tensor:
        with monkeypatch.context() as once:
            once.setattr(grouped_order, "permuted", permuted)
            order[range(95, 114)]  # what another thread may ask for between any two lines
        return permuted(*of)

    monkeypatch.setattr(grouped_order, "permuted", interrupted)
    assert torch.equal(order[range(38)], expected)


def spoilt(address: str, change: Callable[[bytes], bytes]) -> str:
    files, root = fsspec.core.url_to_fs(address)
    name = f"{root}/shard-00001.safetensors"
    files.pipe_file(name, change(files.cat_file(name)))
    return name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content[:-3], r"shard-00001\.safetensors: cannot be read, tried 2 times .* of \d+ bytes came"),
        (lambda content: content[:-1] + b"\x01", r"shard-00001.* its SHA-256 is not that in index\.json"),
    ],
)
def test_what_does_not_come_whole_is_told_and_not_kept(
    tmp_path: Path, upload: Upload, change: Callable[[bytes], bytes], said: str
) -> None:
    address = upload(write(tmp_path / "cache", numbered(12)))
    there = RemoteCache(address, tmp_path / "copies", ROOM)
    files, _ = fsspec.core.url_to_fs(address)
    name = f"{fsspec.core.url_to_fs(address)[1]}/shard-00001.safetensors"
    whole = files.cat_file(name)
    spoilt(address, change)
    first_of_it = there.shard_sizes[0]
    with pytest.raises(UserError, match=said):
        there.gather(torch.tensor([first_of_it]))
    assert not shard_files(there)
    files.pipe_file(name, whole)  # mended
    assert there.gather(torch.tensor([first_of_it]))[0].flatten().tolist() == [first_of_it] * 3


def test_a_download_that_fails_once_is_tried_again(
    tmp_path: Path, upload: Upload, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    there = RemoteCache(upload(write(tmp_path / "cache", numbered(6))), tmp_path / "copies", ROOM)
    failed: list[int] = []
    get_file = there.remote._files.get_file

    def once(path: str, to: str) -> Any:
        if not failed:
            failed.append(Path(to).write_bytes(b"begun"))
            raise ConnectionResetError("connection lost")
        return get_file(path, to)

    monkeypatch.setattr(there.remote._files, "get_file", once, raising=False)
    assert there.gather(torch.tensor([0]))[0].flatten().tolist() == [0, 0, 0]
    assert "connection lost; trying again" in caplog.text


def test_what_a_killed_process_left_is_not_taken_for_whole(tmp_path: Path, upload: Upload) -> None:
    address = upload(write(tmp_path / "cache", numbered(9)))
    there = RemoteCache(address, tmp_path / "copies", ROOM)
    there.gather(torch.tensor([0]))
    (copy,) = shard_files(there)
    (copy.parent / f"{copy.name}.999999999.part").write_bytes(b"begun")
    copy.write_bytes(copy.read_bytes()[:-5])
    again = RemoteCache(address, tmp_path / "copies", ROOM)
    assert shard_files(again) == [copy]  # what was begun is gone
    assert again.gather(torch.tensor([0]))[0].flatten().tolist() == [0, 0, 0]


def test_what_another_process_dies_at_makes_room_while_it_is_waited_for(tmp_path: Path, upload: Upload) -> None:
    path = write(tmp_path / "cache", numbered(12))
    there = RemoteCache(upload(path), tmp_path / "copies", 2 * shard_bytes(path))
    folder = there.path / "shards"
    for shard in (0, 1):  # as processes that died after this one began
        (folder / f"{shard:06d}.safetensors.part").write_bytes(b"begun")
    read: list[float] = []
    last = threading.Thread(target=lambda: read.extend(there.gather(torch.tensor([11]))[0].flatten().tolist()))
    last.daemon = True
    last.start()
    last.join(10)
    assert read == [11, 11, 11]
    assert len(shard_files(there)) == 1


def test_what_another_machine_fetches_is_left_alone(tmp_path: Path, upload: Upload) -> None:
    address = upload(write(tmp_path / "cache", numbered(9)))
    folder = RemoteCache(address, tmp_path / "copies", ROOM).path / "shards"
    part = folder / "000000.safetensors.999999999.part"  # by a process that this machine does not have
    with FileLock(folder / "locks" / "0.lock"):
        part.write_bytes(b"begun")
        assert shard_files(RemoteCache(address, tmp_path / "copies", ROOM)) == [part]
    assert shard_files(RemoteCache(address, tmp_path / "copies", ROOM)) == []


def test_what_another_process_removed_is_let_go(tmp_path: Path, upload: Upload) -> None:
    path = write(tmp_path / "cache", numbered(18))
    address, limit = upload(path), 2 * shard_bytes(path)
    first, follower = (RemoteCache(address, tmp_path / "copies", limit) for _ in range(2))
    held: list[weakref.ref[torch.Tensor]] = []
    for shard in range(len(first.shard_sizes)):
        first.tensors(shard)
        held.append(weakref.ref(follower.tensors(shard)[0]))
    assert len(held) >= 6
    assert sum(tensor() is not None for tensor in held) <= 2


def test_another_cache_at_the_same_address_has_copies_of_its_own(tmp_path: Path, upload: Upload) -> None:
    address = upload(write(tmp_path / "cache", numbered(3)))
    first = RemoteCache(address, tmp_path / "copies", ROOM)
    files, root = fsspec.core.url_to_fs(address)
    index = json.loads(files.cat_file(f"{root}/index.json")) | {"fingerprint": "another"}
    files.pipe_file(f"{root}/index.json", json.dumps(index).encode())
    second = RemoteCache(address, tmp_path / "copies", ROOM)
    assert (second.fingerprint, second.path != first.path) == ("another", True)


def test_what_cannot_be_read_is_told(tmp_path: Path, upload: Upload) -> None:
    copies = tmp_path / "copies"
    with pytest.raises(UserError, match=r"memory://nowhere/index\.json: there is no such file"):
        RemoteCache("memory://nowhere", copies, ROOM)
    with pytest.raises(UserError, match=r"data\.address=nonsense://x: there is no way to read it"):
        RemoteCache("nonsense://x", copies, ROOM)
    path = write(tmp_path / "cache", numbered(12))
    with pytest.raises(UserError, match=r"data\.local_cache_gib=.*: must hold two shards of memory://"):
        RemoteCache(upload(path), copies, 2 * shard_bytes(path) - 1)
    as_earlier_version(path)
    with pytest.raises(UserError, match="an early version made it"):
        RemoteCache(upload(path), copies, ROOM)
    fsspec.filesystem("memory").pipe_file("/broken/index.json", b"{")
    with pytest.raises(UserError, match=r"memory://broken/index\.json: no index of a latent cache"):
        RemoteCache("memory://broken", copies, ROOM)


@pytest.mark.parametrize("key", ["records", "shards"])
@pytest.mark.parametrize("name", ["../../mine", "part/../../../mine", "/{folder}/mine", "", 3])
def test_an_index_names_no_file_of_this_machine(tmp_path: Path, upload: Upload, key: str, name: Any) -> None:
    mine = tmp_path / "mine"
    mine.write_text("precious", encoding="utf-8")
    if isinstance(name, str):
        name = name.format(folder=str(tmp_path).lstrip("/"))
    address = upload(write(tmp_path / "cache", numbered(3)))
    files, root = fsspec.core.url_to_fs(address)
    index = json.loads(files.cat_file(f"{root}/index.json"))
    files.pipe_file(f"{root}/index.json", json.dumps(index | {key: [name]}).encode())
    files.pipe_file(f"{root}/{name}", b"overwritten")
    with pytest.raises(UserError, match=r"/index\.json: .* is no file of that folder"):
        RemoteCache(address, tmp_path / "copies", ROOM)
    assert mine.read_text(encoding="utf-8") == "precious"


@pytest.mark.parametrize("changed", [{"placed": None}, {"sha256": 3}, {"records": 3}, {"shards": None}])
def test_an_index_that_lacks_something_is_told(tmp_path: Path, upload: Upload, changed: dict[str, Any]) -> None:
    address = upload(write(tmp_path / "cache", numbered(3)))
    files, root = fsspec.core.url_to_fs(address)
    index = json.loads(files.cat_file(f"{root}/index.json")) | changed
    kept = {key: value for key, value in index.items() if value is not None}
    files.pipe_file(f"{root}/index.json", json.dumps(kept).encode())
    with pytest.raises(UserError, match=r"/index\.json: no index of a latent cache"):
        RemoteCache(address, tmp_path / "copies", ROOM)


def test_parts_of_a_mixture_may_lie_elsewhere(tmp_path: Path, upload: Upload) -> None:
    here = LatentCache(write(tmp_path / "here", numbered(20)))
    path = write(tmp_path / "there", numbered(30, name="other"))
    limit = 4 * shard_bytes(path)
    there = RemoteCache(upload(path), tmp_path / "copies", limit)
    mixed = MixedCache({"here": here, "there": there})
    records = split_mixture(mixed, {"here": 1, "there": 1}, {"here": 0.1, "there": 0.1})
    loader = LatentLoader(mixed, records, 4, 1, seed=0, device=CPU)
    for step in range(30):
        batch = range(4 * step, 4 * step + 4)
        found = loader.records_at(batch)
        expected = [index if index < 20 else index - 20 for index in found]
        assert loader.batches(batch).latents[:, 0, 0, 0].tolist() == expected
        assert sum(index < 20 for index in found) == 2
        assert on_disk(there) <= limit
    loader.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a web server of this folder."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_cache_is_read_over_the_web(tmp_path: Path, served: str) -> None:
    here = LatentCache(write(tmp_path / "cache", numbered(10)))
    there = RemoteCache(f"{served}/cache/", tmp_path / "copies", ROOM)
    indices = torch.tensor([9, 0, 4, 4])
    for one, other in zip(here.gather(indices), there.gather(indices), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(UserError, match=r"/none/index\.json: there is no such file"):
        RemoteCache(f"{served}/none", tmp_path / "copies", ROOM)


def test_a_cache_is_read_from_a_file_address_and_a_server_that_is_gone_is_told(tmp_path: Path) -> None:
    here = LatentCache(write(tmp_path / "cache", numbered(4)))
    there = RemoteCache(f"file://{here.path}", tmp_path / "copies", ROOM)
    assert there.gather(torch.tensor([3]))[0].flatten().tolist() == [3, 3, 3]
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:9/x/index\.json: cannot be read, tried 2 times"):
        RemoteCache("http://127.0.0.1:9/x", tmp_path / "copies", ROOM)
