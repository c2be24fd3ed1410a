"""Inputs that somebody made to break us, or that broke on their way: each with what a command says of it."""

import io
import json
import os
import pickle
import struct
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file


@dataclass(frozen=True)
class Hostile:
    """One input.

    Attributes:
        kind: pictures, names, tables, shards, weights, configs, runs or caches.
        name: what is wrong with it.
        make: writes it into a folder, which is the command's working directory; `run/` there is a whole small run.
        arguments: of the command that reads it.
        says: a pattern in its one error message; None where the input is odd but good.
    """

    kind: str
    name: str
    make: Callable[[Path], object]
    arguments: tuple[str, ...]
    says: str | None


class Exploit:
    """Unpickled, it leaves a file called PWNED."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch PWNED",)


FOLDER = ("aaa.encode", "data=imagefolder", "data.root=data", "data.resolution=16", "encoder.batch_size=4")
TARS = ("aaa.encode", "data=webdataset", "data.path=data", "data.resolution=16")
DATASETS = ("aaa.encode", "data=huggingface", "data.path=data", "data.resolution=16")
SAMPLE = ("aaa.sample", "prompt=a red ring", "steps=1", "num_images=1", "out=drawn")
RESUME = ("aaa.train", "resume=run", "trainer.max_steps=14")


def noise_picture(size: tuple[int, int] = (24, 24), seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def encoded(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *, more: bytes = b"", pixels: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + more + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def with_picture(name: str, content: bytes | Callable[[Path], object]) -> Callable[[Path], None]:
    """A folder with one good picture and this one."""

    def make(folder: Path) -> None:
        images = folder / "data" / "images"
        images.mkdir(parents=True)
        noise_picture().save(images / "good.png")
        if isinstance(content, bytes):
            (images / name).write_bytes(content)
        else:
            content(images / name)
        (folder / "data" / "metadata.csv").write_text(f'image,prompt\ngood.png,a good one\n"{name}",a hostile one\n')

    return make


def with_table(name: str, content: bytes | str) -> Callable[[Path], None]:
    """A folder with good pictures and this table."""

    def make(folder: Path) -> None:
        data = folder / "data"
        data.mkdir()
        for number in range(2):
            noise_picture(seed=number).save(data / f"{number}.png")
        (data / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return make


def circle(folder: Path) -> None:
    """A captioned picture beside a link that leads back up."""
    with_table("0.txt", "a red ring")(folder)
    (folder / "data" / "again").symlink_to("..")


def with_tar(build: Callable[[tarfile.TarFile], object], cut: int | None = None) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / "data").mkdir()
        shard = folder / "data" / "0.tar"
        with tarfile.open(shard, "w") as tar:
            for number in range(2):
                add(tar, f"{number}.png", encoded(noise_picture(seed=number), "PNG"))
                add(tar, f"{number}.txt", b"a good one")
            build(tar)
        if cut is not None:
            shard.write_bytes(shard.read_bytes()[:cut])

    return make


def add(tar: tarfile.TarFile, name: str, content: bytes, kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = len(content), kind, link
    tar.addfile(member, io.BytesIO(content))


def add_pair(
    tar: tarfile.TarFile, name: str, picture: bytes = b"", suffix: str = "txt", text: bytes = b"a hostile one"
) -> None:
    add(tar, f"{name}.png", picture or encoded(noise_picture(), "PNG"))
    add(tar, f"{name}.{suffix}", text)


def declared_larger(tar: tarfile.TarFile) -> None:
    member = tarfile.TarInfo("9.png")
    member.size = 2**40
    assert tar.fileobj is not None
    tar.fileobj.write(member.tobuf())
    tar.offset += tarfile.BLOCKSIZE


def file(path: str, content: bytes | str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)

    return make


def weights(change: Callable[[dict[str, torch.Tensor]], object], **header: str) -> Callable[[Path], None]:
    """The run's exported weights, changed."""

    def make(folder: Path) -> None:
        path = folder / "run/model/model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path, metadata={"format": "pt"} | header)

    return make


def exported(change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    """The run's exported config.json, changed."""
    return edited_json("run/model/config.json", change)


def edited_json(path: str, change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        content = json.loads((folder / path).read_text())
        change(content)
        (folder / path).write_text(json.dumps(content))

    return make


def replaced(path: str, old: str, new: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        text = (folder / path).read_text()
        assert old in text
        (folder / path).write_text(text.replace(old, new))

    return make


def set_in(*keys: str, to: object) -> Callable[[dict[str, object]], None]:
    def change(config: dict[str, object]) -> None:
        node: object = config
        for key in keys[:-1]:
            assert isinstance(node, dict)
            node = node[key]
        assert isinstance(node, dict)
        node[keys[-1]] = to

    return change


def in_checkpoint(name: str, content: bytes | str) -> Callable[[Path], None]:
    """A file of the newest checkpoint replaced, and the manifest made to agree: a forgery, not an accident."""

    def make(folder: Path) -> None:
        from aaa.saved.checkpoint_folders import write_manifest

        checkpoint = max((folder / "run/checkpoints").iterdir())
        (checkpoint / name).write_bytes(content.encode() if isinstance(content, str) else content)
        write_manifest(checkpoint)

    return make


def state(**changed: object) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        checkpoint = max((folder / "run/checkpoints").iterdir())
        content = json.loads((checkpoint / "state.json").read_text())
        in_checkpoint("state.json", json.dumps(content | changed))(folder)

    return make


def cache_file(name: str, content: bytes | str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (cache,) = (path.parent for path in (folder / ".cache/aaa").glob("*/index.json"))
        (cache / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return make


def pickled() -> bytes:
    return pickle.dumps(Exploit())


def tower(levels: int) -> str:
    return "[" * levels + "]" * levels


def text_of(lines: int, repeat: str) -> str:
    return "".join(f"{repeat}\n" for _ in range(lines))


def laughs() -> str:
    levels = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    return "a0: &a0 [lol]\n" + levels


BOMB = png(60_000, 60_000)
PARTIAL = encoded(noise_picture((256, 256)), "PNG")[:3000]
JPEG = encoded(noise_picture((256, 256)), "JPEG")
HEADERS = {
    "absurd": struct.pack("<Q", 2**60) + b"{}",
    "long": struct.pack("<Q", 2**31) + b"{}",
    "text": struct.pack("<Q", 4) + b"oops",
    "overlap": b"",
}


def safetensors_of(header: dict[str, object], content: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content


def animated(path: Path) -> None:
    noise_picture().save(path, "GIF", save_all=True, append_images=[noise_picture(seed=1)] * 300)


CORPUS: list[Hostile] = []
case: str
content: Any
make: Any
change: Any
build: Any
cut: int | None
says: str | None


def expect(kind: str, name: str, make: Callable[[Path], object], arguments: tuple[str, ...], says: str | None) -> None:
    CORPUS.append(Hostile(kind, name, make, arguments, says))


for case, picture_name, content, says in (
    ("empty", "x.png", b"", "metadata.csv:3: image 'x.png' is empty"),
    ("text", "x.png", b"not a picture", "metadata.csv:3: image 'x.png' is not a picture"),
    ("HTML called JPEG", "x.jpg", b"<html><body>404</body></html>", "'x.jpg' is not a picture"),
    ("SVG called PNG", "x.png", b'<svg xmlns="http://www.w3.org/2000/svg"/>', "'x.png' is not a picture"),
    ("cut PNG", "x.png", PARTIAL, "'x.png' cannot be read"),
    ("cut JPEG", "x.jpg", JPEG[: len(JPEG) // 2], "'x.jpg' cannot be read"),
    ("bomb", "x.png", BOMB, "'x.png' is a decompression bomb"),
    ("one bit bomb", "x.png", encoded(Image.new("1", (20_000, 20_000)), "PNG"), "'x.png' .*decompression bomb"),
    ("text bomb", "x.png", png(8, 8, more=chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**27)))), "'x.png' cannot"),
    ("no pixels", "x.png", png(8, 8), "'x.png' cannot be read"),
    ("no size", "x.png", png(0, 0), "'x.png' "),
    ("20000 x 1", "x.png", lambda path: noise_picture((20_000, 1)).save(path), None),
    ("1000000 x 1", "x.png", lambda path: noise_picture((10**6, 1)).save(path), "too elongated: 1000000 x 1"),
    ("a folder", "x.png", lambda path: path.mkdir(), "'x.png' is a folder, not a file"),
    ("a pipe", "x.png", lambda path: os.mkfifo(path), "'x.png' is a pipe or a device, not a file"),
    (
        "an endless device",
        "x.png",
        lambda path: path.symlink_to("/dev/zero"),
        "'x.png' is a link to '/dev/zero', which",
    ),
    ("a link to itself", "x.png", lambda path: path.symlink_to(path), "'x.png' "),
    ("animated", "x.gif", animated, None),
    ("CMYK", "x.jpg", encoded(noise_picture().convert("CMYK"), "JPEG"), None),
    ("16 bits", "x.png", lambda path: Image.fromarray(np.full((24, 24), 60_000, np.uint16)).save(path), None),
    ("palette with transparency", "x.png", encoded(noise_picture().convert("P"), "PNG"), None),
    ("1 x 1", "x.png", lambda path: noise_picture((1, 1)).save(path), None),
    ("JPEG called PNG", "x.png", JPEG, None),
):
    expect("pictures", case, with_picture(picture_name, content), FOLDER, says)

for case, row, says in (
    ("parent", "../victim.png", "metadata.csv:2: image '../victim.png' points outside"),
    ("deep parent", "a/../../../victim.png", "points outside"),
    ("absolute", "/etc/passwd", "image '/etc/passwd' points outside"),
    ("home", "~/x.png", "image '~/x.png' does not exist"),
    ("empty", "", "column 'image' is empty"),
    ("dot", ".", "image '.' is a folder"),
    ("newline", '"a\nb.png"', r"image 'a\\nb.png' does not exist"),
    ("10 MB long", "x" * 10_000_000, "is not a file name"),
    ("device", "/dev/stdin", "points outside"),
):
    expect("names", case, with_table("metadata.csv", f"image,prompt\n{row},a picture\n0.png,b\n"), FOLDER, says)
expect("names", "NUL", with_table("metadata.jsonl", '{"image": "a\\u0000b.png", "prompt": ""}\n'), FOLDER, "not a file")
expect(
    "names",
    "link that leaves",
    with_picture("x.png", lambda path: path.symlink_to("../../../victim.png")),
    FOLDER,
    None,  # a name that stays within; whoever laid the link wanted what it links to
)
expect(
    "names",
    "link to nothing",
    with_picture("x.png", lambda path: path.symlink_to("../.git/annex/objects/x")),
    FOLDER,
    "image 'x.png' is a link to '../.git/annex/objects/x', which is not there; git annex get",
)
expect(
    "names",
    "circle of links",
    circle,
    FOLDER,
    None,
)

for table, case, content, says in (
    ("csv", "not UTF-8", b"image,prompt\n0.png,\xff\xfe\n", "metadata.csv:2: not a CSV file in UTF-8"),
    ("csv", "NULs", b"image,prompt\n0.png,a\0b\n1.png,\0\n", None),
    ("csv", "empty", b"", "no records"),
    ("csv", "header alone", b"image,prompt\n", "no records"),
    ("csv", "other columns", b"where,text\n0.png,a\n", "no column 'image' .*; there is: where, text"),
    (
        "csv",
        "too many fields",
        b"image,prompt\n0.png,a red, round thing\n",
        "metadata.csv:2: .*more fields than",
    ),
    ("csv", "quote never closed", b'image,prompt\n0.png,"a\n1.png,b\n', "metadata.csv:2: a quote that is opened in"),
    ("csv", "column twice", b"image,prompt,prompt\n0.png,a,b\n", "metadata.csv:1: the column 'prompt' is there twice"),
    ("csv", "10 MB prompt", "image,prompt\n0.png," + "red " * 2_500_000 + "\n1.png,b\n", None),
    ("csv", "binary", bytes(range(256)) * 40, "metadata.csv:2: not a CSV file"),
    ("jsonl", "cut line", '{"image": "0.png", "prompt": "a"}\n{"image": "1.p', "metadata.jsonl:2: not JSON"),
    ("jsonl", "list", '["0.png", "a"]\n', "metadata.jsonl:1: not a JSON object"),
    ("jsonl", "number for a name", '{"image": 7, "prompt": "a"}\n', "metadata.jsonl:1: column 'image' is empty or not"),
    ("jsonl", "object for a prompt", '{"image": "0.png", "prompt": {"a": 1}}\n', "metadata.jsonl:1: .*prompt"),
    ("jsonl", "tower", tower(100_000), "metadata.jsonl:1: not JSON"),
    ("jsonl", "huge number", '{"image": "0.png", "prompt": ' + "9" * 10_000 + "}\n", "metadata.jsonl:1: "),
    ("json", "tower", tower(100_000), "metadata.json: not JSON"),
    ("json", "object", '{"image": "0.png"}', "metadata.json: not a JSON list"),
    ("json", "strings", '["0.png"]', r"metadata.json\[0\]: not a JSON object"),
    ("parquet", "garbage", b"PAR1" + bytes(200) + b"PAR1", "metadata.parquet: not a whole Parquet file"),
    ("parquet", "empty", b"", "metadata.parquet: not a whole Parquet file"),
):
    expect("tables", f"{table}: {case}", with_table(f"metadata.{table}", content), FOLDER, says)
expect(
    "tables",
    "sidecar not UTF-8",
    lambda folder: with_table("0.txt", b"\xff\xfe\xff")(folder),
    FOLDER,
    r"0.txt: not UTF-8",
)

for case, build, cut, says in (
    ("path traversal", lambda tar: add_pair(tar, "../../victim"), None, None),
    ("absolute", lambda tar: add_pair(tar, "/tmp/hostile-victim"), None, None),
    ("link", lambda tar: add(tar, "9.png", b"", tarfile.SYMTYPE, "/etc/passwd"), None, None),
    ("device", lambda tar: add(tar, "9.png", b"", tarfile.CHRTYPE), None, None),
    ("cut", lambda _: None, 1500, "0.tar: "),
    ("declared larger", declared_larger, None, "0.tar: "),
    ("bad JSON", lambda tar: add_pair(tar, "9", JPEG, "json", b"{"), None, "'9' has a .json that cannot"),
    ("long caption", lambda tar: add_pair(tar, "9", JPEG, "txt", bytes(2**21)), None, "more than any"),
    ("picture that is none", lambda tar: add_pair(tar, "9", b"x", "txt", b"x"), None, "'9' is not a pict"),
):
    expect("shards", case, with_tar(build, cut), TARS, says)
expect("shards", "no tar", file("data/0.tar", b"x" * 3000), TARS, "0.tar: not a whole tar file")
expect("shards", "empty", file("data/0.tar", b""), TARS, "0.tar: ")
expect("shards", "arrow garbage", file("data/0.arrow", b"ARROW1" + bytes(99)), DATASETS, "datasets cannot read it")
expect("shards", "parquet garbage", file("data/0.parquet", b"PAR1"), DATASETS, "datasets cannot read it")

MODEL = (*SAMPLE, "model=run/model")
for case, content, says in (
    ("header of 2^60 bytes", struct.pack("<Q", 2**60) + b"{}", "model.safetensors: not a whole safetensors file"),
    ("header longer than the file", struct.pack("<Q", 2**31) + b"{}", "not a whole safetensors file"),
    ("header no JSON", struct.pack("<Q", 4) + b"oops", "not a whole safetensors file"),
    ("empty", b"", "not a whole safetensors file"),
    ("pickle", pickled(), "not a whole safetensors file"),
    (
        "tensors that overlap",
        safetensors_of(
            {name: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for name in ("a", "b")}, bytes(16)
        ),
        "not a whole safetensors file",
    ),
    (
        "shape of 2^40",
        safetensors_of({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 16]}}, bytes(16)),
        "not a whole safetensors file",
    ),
    (
        "other tensors",
        safetensors_of({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}, bytes(16)),
        "not the weights of a DiT",
    ),
):
    expect("weights", case, file("run/model/model.safetensors", content), MODEL, says)
expect("weights", "pickle, .pth", file("weights.pth", pickled()), (*SAMPLE, "model=weights.pth"), "not a folder, nor a")
expect(
    "weights", "pickle, .ckpt", file("weights.ckpt", pickled()), (*SAMPLE, "model=weights.ckpt"), "can run code when"
)
expect(
    "weights",
    "pickle to start from",
    file("weights.pt", pickled()),
    ("aaa.train", "init_from=weights.pt", "logger=none", "data.resolution=16", "data.source.num_records=8"),
    "weights.pt: not a whole safetensors file",
)
expect(
    "weights",
    "99,999,999 blocks",
    weights(lambda tensors: tensors.update({"blocks.99999999.to_q.weight": torch.zeros(1)})),
    MODEL,
    "not the weights of a DiT",
)
expect(
    "weights",
    "width of none",
    weights(lambda tensors: tensors.update({"proj_out.weight": torch.zeros(3, 0)})),
    MODEL,
    "not the weights of a DiT",
)

for case, change, says in (
    ("os.system", set_in("encoder", "vae", "_target_", to="os.system"), "wants to run 'os.system'"),
    ("through our module", set_in("scheduler", "_target_", to="aaa.encoders.words.torch.hub.load"), "wants to run"),
    ("in a list", set_in("sampling", "x", to=[{"_target_": "builtins.eval"}]), "wants to run 'builtins.eval'"),
    ("function of ours", set_in("scheduler", "_target_", to="aaa.cli.run"), "wants to run 'aaa.cli.run'"),
    ("width of 10^9", set_in("model", "dim", to=10**9), "weights are those of another model: model.dim is 64"),
    ("depth of 10^9", set_in("model", "depth", to=10**9), "weights are those of another model: model.depth is 2"),
    ("width of text", set_in("model", "dim", to="x"), "weights are those of another model"),
    ("no encoder", lambda config: config.pop("encoder"), "has no encoder"),
    ("encoder of text", set_in("encoder", to="x"), "has no encoder"),
    ("4 million prompt tokens", set_in("encoder", "vae", "downscale_factor", to=0), "encoder"),
):
    expect("configs", f"config.json: {case}", exported(change), MODEL, says)
for case, content, says in (
    ("no JSON", "{", "config.json: not JSON"),
    ("tower", tower(100_000), "config.json: not JSON"),
    ("list", "[]", "config.json: not a JSON object"),
    ("not UTF-8", b"\xff\xfe", "config.json: not JSON"),
):
    expect("configs", f"config.json: {case}", file("run/model/config.json", content), MODEL, says)

CHECKPOINT = (*SAMPLE, "model=run", "weights=raw")
for case, make, says in (
    (
        "os.system",
        replaced("run/config.yaml", "aaa.encoders.pixel.PixelVAE", "os.system"),
        "config wants to run 'os.system'",
    ),
    ("Python object", file("run/config.yaml", "a: !!python/object/apply:os.system ['touch PWNED']"), "not a config in"),
    ("laughs", file("run/config.yaml", laughs()), "uses YAML anchors"),
    ("cut", file("run/config.yaml", "a: [1,"), "not a config in YAML"),
    ("list", file("run/config.yaml", "- 1\n- 2\n"), "not a config"),
    ("unknown resolver", replaced("run/config.yaml", "name: dit_tiny", "name: ${run:rm}"), "config.yaml: "),
    ("tower", file("run/config.yaml", "a: " + tower(100_000)), "not a config in YAML"),
):
    expect("configs", f"config.yaml: {case}", make, CHECKPOINT, says)
for case, make, says in (
    ("os.system", replaced("run/.hydra/config.yaml", "aaa.encoders.pixel.PixelVAE", "os.system"), "run 'os.system'"),
    ("Python object", file("run/.hydra/config.yaml", "a: !!python/object/apply:os.system ['touch PWNED']"), "damaged"),
    ("laughs", file("run/.hydra/config.yaml", laughs()), "uses YAML anchors"),
    ("empty", file("run/.hydra/config.yaml", ""), "damaged, or not the config of a run"),
):
    expect("configs", f".hydra/config.yaml: {case}", make, RESUME, says)

for case, make, says in (
    ("optimizer that runs code", in_checkpoint("optimizer.pt", pickled()), "optimizer.pt: not the state of the config"),
    ("optimizer of text", in_checkpoint("optimizer.pt", "x"), "optimizer.pt: not the state of the configured"),
    ("state: list", in_checkpoint("state.json", "[]"), "state.json: not the state of a run"),
    ("state: tower", in_checkpoint("state.json", tower(100_000)), "state.json: not the state of a run"),
    ("state: step of text", state(step="many"), "state.json: not the state of a run"),
    ("state: step below 0", state(step=-5), "state.json: not the state of a run"),
    ("state: losses of text", state(unlogged={"steps": [1], "losses": "x"}), "state.json: not the state of a run"),
    ("state: more keys", state(_target_="os.system"), "state.json: not the state of a run"),
    ("another model's weights", in_checkpoint("model.safetensors", HEADERS["text"]), "not a whole safetensors file"),
):
    expect("runs", case, make, RESUME, says)
expect(
    "runs",
    "manifest that leaves the folder",
    lambda folder: [
        (path / "manifest.json").write_text(json.dumps({"files": {"../../config.yaml": {"bytes": 1, "sha256": "x"}}}))
        for path in (folder / "run/checkpoints").iterdir()
    ],
    RESUME,
    "none of its 2 checkpoints is whole",
)
expect("runs", "metrics: garbage", file("run/metrics.jsonl", b"\xff\xfe[1]\n7\n{}\n{\n"), RESUME, None)
expect("runs", "metrics: compared", file("run/metrics.jsonl", b"\xff\xfe[1]\n7\n{}\n{\n"), ("aaa.compare", "run"), None)

for case, make in (
    ("index: garbage", cache_file("index.json", "{")),
    ("index: tower", cache_file("index.json", tower(100_000))),
    ("index: list", cache_file("index.json", "[]")),
    ("records: cut", cache_file("records.arrow", "ARROW1")),
    ("records: nothing that Arrow knows", cache_file("records.arrow", b"\xff\xfe\n" * 99)),
    ("shard: garbage", cache_file("shard-00000.safetensors", b"x" * 100)),
    ("shard: header of 2^60 bytes", cache_file("shard-00000.safetensors", HEADERS["absurd"])),
    ("empty prompt: pickle", cache_file("empty_prompt.safetensors", pickled())),
):
    expect("caches", case, make, RESUME, None)  # what is damaged is encoded again
