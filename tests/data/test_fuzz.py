"""Readers of files that others wrote: whatever is in them, they read it or say what is wrong, and nothing else."""

import json
import os
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from aaa.config.trust import read_json_config, read_yaml_config
from aaa.data.cache import LatentCache
from aaa.data.imagefolder import ImageFolderSource
from aaa.data.pictures import decode_picture
from aaa.data.tables import SUFFIXES, read_table
from aaa.data.webdataset import WebDatasetSource
from aaa.errors import UserError
from aaa.saved.checkpoint import load_state
from aaa.saved.checkpoint_folders import damage, write_manifest
from aaa.saved.weights_file import read_dit_numbers
from aaa.tracking.tracker import read_metrics
from tests.data.test_cache import build
from tests.helpers.hostile_files import add, encoded, noise_picture

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


TABLES = {
    ".csv": b'image,prompt\n0.png,a red ring\n1.png,"two, three"\n',
    ".tsv": b"image\tprompt\n0.png\ta red ring\n1.png\ttwo, three\n",
    ".jsonl": b'{"image": "0.png", "prompt": "a"}\n{"image": ["1.png"], "prompt": null}\n',
    ".json": b'[{"image": "0.png", "prompt": "a"}, {"image": "1.png"}]',
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@MUTATIONS
@given(mutate=mutations(), raw=st.none() | st.binary(max_size=300))
def test_any_table(tmp_path: Path, suffix: str, mutate: Callable[[bytes], bytes], raw: bytes | None) -> None:
    if suffix == ".parquet":
        pa = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pa.table({"image": ["0.png"], "prompt": ["a"]}), tmp_path / "good")
        good = (tmp_path / "good").read_bytes()
    else:
        good = TABLES[suffix]
    (tmp_path / f"metadata{suffix}").write_bytes(mutate(good) if raw is None else raw)
    reads_or_explains(lambda: list(read_table(tmp_path / f"metadata{suffix}")))

    def every_record() -> None:
        source = ImageFolderSource(str(tmp_path))
        for index in range(len(source)):
            reads_or_explains(source[index].load)

    reads_or_explains(every_record)


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
    file.write_bytes(mutate(good))
    try:
        reads_or_explains(lambda: LatentCache(cache))
    finally:
        file.write_bytes(good)


@MUTATIONS
@given(mutate=mutations())
def test_any_tar(tmp_path: Path, mutate: Callable[[bytes], bytes]) -> None:
    with tarfile.open(tmp_path / "good", "w") as tar:
        add(tar, "a.png", encoded(noise_picture((8, 8)), "PNG"))
        add(tar, "a.txt", b"a")
        add(tar, "a.json", b'{"x": 1}')
    (tmp_path / "0.tar").write_bytes(mutate((tmp_path / "good").read_bytes()))

    def every_record() -> None:
        source = WebDatasetSource(str(tmp_path))
        for index in range(len(source)):
            reads_or_explains(source[index].load)

    reads_or_explains(every_record)


@MUTATIONS
@given(mutate=mutations(), kind=st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"]))
def test_any_picture(mutate: Callable[[bytes], bytes], kind: str) -> None:
    content = mutate(encoded(noise_picture((9, 7)), kind))
    reads_or_explains(lambda: decode_picture(content, "white"))


@MUTATIONS
@given(mutate=mutations())
def test_any_weights(tmp_path: Path, mutate: Callable[[bytes], bytes]) -> None:
    save_file({"blocks.0.to_q.weight": torch.zeros(2, 2), "proj_out.weight": torch.zeros(3, 2)}, tmp_path / "good")
    path = tmp_path / "weights.safetensors"
    path.write_bytes(mutate((tmp_path / "good").read_bytes()))
    reads_or_explains(lambda: read_dit_numbers(path))


@MUTATIONS
@given(mutate=mutations())
def test_any_state_manifest_metrics_and_config(tmp_path: Path, mutate: Callable[[bytes], bytes]) -> None:
    state = {"step": 3, "seconds": 1.0, "cache_fingerprint": "x", "ema_updates": 3, "metrics": {"val/loss": 1.0}}
    (tmp_path / "state.json").write_bytes(mutate(json.dumps(state).encode()))
    reads_or_explains(lambda: load_state(tmp_path))
    write_manifest(tmp_path)
    (tmp_path / "manifest.json").write_bytes(mutate((tmp_path / "manifest.json").read_bytes()))
    damage(tmp_path)
    (tmp_path / "metrics.jsonl").write_bytes(mutate(b'{"step": 1, "train/loss": 0.5}\n{"step": 2}\n'))
    read_metrics(tmp_path / "metrics.jsonl")
    (tmp_path / "config.yaml").write_bytes(mutate(b"a: {b: [1, 2], c: ${a.b}}\nd: x\n"))
    reads_or_explains(lambda: read_yaml_config(tmp_path / "config.yaml"))
    (tmp_path / "config.json").write_bytes(mutate(b'{"a": [1, {"b": null}]}'))
    reads_or_explains(lambda: read_json_config(tmp_path / "config.json"))
