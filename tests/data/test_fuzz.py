"""Readers of files that others wrote: whatever is in them, they read it or say what is wrong, and nothing else."""

import json
import os
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from aaa.config.trust import read_json_config, read_yaml_config
from aaa.data.cache import LatentCache
from aaa.data.imagefolder import ImageFolderSource
from aaa.data.pictures import decode_picture
from aaa.data.records import Source
from aaa.data.tables import SUFFIXES, read_table
from aaa.data.webdataset import WebDatasetSource
from aaa.errors import UserError
from aaa.models.factory import build_dit
from aaa.saved.checkpoint import load_state
from aaa.saved.checkpoint_folders import damage, write_manifest
from aaa.saved.weights_file import read_dit_numbers
from aaa.tracking.tracker import read_metrics
from tests.data.test_cache import build
from tests.helpers.hostile_files import add, encoded, noise_picture

PNG = encoded(noise_picture((8, 8)), "PNG")
MUTATIONS = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "60")),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@st.composite
def mutations(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """A few changes to a file: bytes flipped, cut out, doubled, put in."""
    changes = draw(
        st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 3), st.binary(min_size=1, max_size=9)), max_size=6)
    )

    def mutate(content: bytes) -> bytes:
        for where, kind, insert in changes:
            at = where % max(len(content), 1)
            rest = {0: insert + content[at + len(insert) :], 1: content[at + len(insert) :], 2: insert + content[at:]}
            content = content[:at] + rest.get(kind, b"")
        return content

    return mutate


def reads_or_explains(read: Callable[[], object]) -> None:
    with suppress(UserError):
        read()


def mutant_reads_or_explains(file: Path, good: bytes, mutated: bytes, read: Callable[[], object]) -> None:
    """As a file of this name with the mutated content; the good one is read first, for who refuses all explains all."""
    file.write_bytes(good)
    read()
    file.write_bytes(mutated)
    reads_or_explains(read)


def records_load_or_explain(open_source: Callable[[], Source]) -> None:
    def every_record() -> None:
        source = open_source()
        for index in range(len(source)):
            reads_or_explains(source[index].load)

    reads_or_explains(every_record)


def load_all(source: Source) -> int:
    """How many records there are, each of which can be loaded."""
    return len([source[index].load() for index in range(len(source))])


TABLES = {
    ".csv": b'image,prompt\n0.png,a red ring\n1.png,"two, three"\n',
    ".tsv": b"image\tprompt\n0.png\ta red ring\n1.png\ttwo, three\n",
    ".jsonl": b'{"image": "0.png", "prompt": "a"}\n{"image": ["1.png"], "prompt": null}\n',
    ".json": b'[{"image": "0.png", "prompt": "a"}, {"image": "1.png", "prompt": "b"}]',
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@MUTATIONS
@given(mutate=mutations(), raw=st.none() | st.binary(max_size=300))
def test_any_table(tmp_path: Path, suffix: str, mutate: Callable[[bytes], bytes], raw: bytes | None) -> None:
    if suffix == ".parquet":
        pa = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pa.table({"image": ["0.png", "1.png"], "prompt": ["a", "b"]}), tmp_path / "good")
        good = (tmp_path / "good").read_bytes()
    else:
        good = TABLES[suffix]
    for name in ("0.png", "1.png"):
        (tmp_path / name).write_bytes(PNG)
    table = tmp_path / f"metadata{suffix}"
    table.write_bytes(good)
    assert load_all(ImageFolderSource(str(tmp_path))) == 2
    mutant_reads_or_explains(table, good, mutate(good) if raw is None else raw, lambda: list(read_table(table)))
    records_load_or_explain(lambda: ImageFolderSource(str(tmp_path)))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from aaa.data.shapes import ShapesSource

    path = tmp_path_factory.mktemp("fuzz") / "cache"
    build(path, ShapesSource(num_records=6, num_validation=2, resolution=16))
    return path


@MUTATIONS
@given(mutate=mutations(), name=st.sampled_from(["index.json", "records.arrow", "empty_prompt.safetensors"]))
def test_any_cache_index(cache: Path, mutate: Callable[[bytes], bytes], name: str) -> None:
    file = cache / name
    good = file.read_bytes()
    try:
        mutant_reads_or_explains(file, good, mutate(good), lambda: LatentCache(cache))
    finally:
        file.write_bytes(good)


@MUTATIONS
@given(mutate=mutations())
def test_any_tar(tmp_path: Path, mutate: Callable[[bytes], bytes]) -> None:
    with tarfile.open(tmp_path / "good", "w") as tar:
        add(tar, "a.png", PNG)
        add(tar, "a.txt", b"a")
        add(tar, "a.json", b'{"x": 1}')
    shard = (tmp_path / "good").rename(tmp_path / "0.tar")
    assert load_all(WebDatasetSource(str(tmp_path))) == 1
    shard.write_bytes(mutate(shard.read_bytes()))
    records_load_or_explain(lambda: WebDatasetSource(str(tmp_path)))


@MUTATIONS
@given(mutate=mutations(), kind=st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"]))
def test_any_picture(mutate: Callable[[bytes], bytes], kind: str) -> None:
    good = encoded(noise_picture((9, 7)), kind)
    assert decode_picture(good, "white").size == (9, 7)
    reads_or_explains(lambda: decode_picture(mutate(good), "white"))


@MUTATIONS
@given(mutate=mutations())
def test_any_weights(tmp_path: Path, mutate: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "weights.safetensors"
    model = build_dit(16, 2, 2, in_channels=4, text_dim=8)
    save_file(model.state_dict(), path, {"model": json.dumps({"heads": 2})})
    good = path.read_bytes()
    mutant_reads_or_explains(path, good, mutate(good), lambda: read_dit_numbers(path))


@MUTATIONS
@given(mutate=mutations())
def test_any_state_manifest_metrics_and_config(tmp_path: Path, mutate: Callable[[bytes], bytes]) -> None:
    state = {"step": 3, "seconds": 1.0, "cache_fingerprint": "x", "ema_updates": 3, "metrics": {"val/loss": 1.0}}
    for name, good, read in (
        ("state.json", json.dumps(state).encode(), lambda: load_state(tmp_path)),
        ("config.yaml", b"a: {b: [1, 2], c: '${a.b}'}\nd: x\n", lambda: read_yaml_config(tmp_path / "config.yaml")),
        ("config.json", b'{"a": [1, {"b": null}]}', lambda: read_json_config(tmp_path / "config.json")),
    ):
        mutant_reads_or_explains(tmp_path / name, good, mutate(good), read)
    write_manifest(tmp_path)
    assert damage(tmp_path) is None
    (tmp_path / "manifest.json").write_bytes(mutate((tmp_path / "manifest.json").read_bytes()))
    damage(tmp_path)
    metrics, rows = tmp_path / "metrics.jsonl", b'{"step": 1, "train/loss": 0.5}\n{"step": 2}\n'
    metrics.write_bytes(rows)
    assert [row["step"] for row in read_metrics(metrics)] == [1, 2]
    metrics.write_bytes(mutate(rows))
    read_metrics(metrics)
