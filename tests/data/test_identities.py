"""Which pictures are the same as those that were encoded before: those with the same content, and no others."""

import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from aaa.assembly.latents import Latents, _identities, open_latents
from aaa.config.checks import check_config
from aaa.data.file_digests import FileDigests
from aaa.data.records import Record
from tests.data.test_webdataset import png, shard
from tests.helpers.composed import compose


def opened(tmp_path: Path, kind: str, *overrides: str) -> Latents:
    where = "root" if kind == "imagefolder" else "path"
    config = compose(f"data={kind}", f"data.{where}={tmp_path / 'data'}", "data.resolution=16", *overrides)
    config.data.cache_dir = str(tmp_path / "caches")
    check_config(config)
    return open_latents(config, "cpu")


def reused(latents: Latents) -> tuple[int, int]:
    """How many records the cache has, and how many were taken over."""
    build = json.loads((latents.cache.path / "index.json").read_text())["build"]
    return build["records"], build["reused"]


def colors(latents: Latents) -> list[tuple[int, ...]]:
    """The first pixel of each picture."""
    decoded = latents.vae.decode(latents.cache.gather(torch.arange(len(latents.cache)))[0])
    return [tuple(((image[:, 0, 0] + 1) * 127.5).round().int().tolist()) for image in decoded]


def rows(*pictures: dict[str, Any]) -> Any:
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageFeature

    columns = {key: [row[key] for row in pictures] for key in pictures[0]}
    types = {key: Value("string") if key == "text" else ImageFeature() for key in columns}
    return Dataset.from_dict(columns, features=Features(types))


def red(**others: str) -> dict[str, Any]:
    return {key: Image.new("RGB", (16, 16), color) for key, color in {"image": "red", **others}.items()}


def test_another_column_of_pictures_is_encoded(tmp_path: Path) -> None:
    shard(tmp_path / "data" / "0.tar", {"0.png": png("red"), "0.mask.png": png("blue"), "0.txt": b"a"})
    assert colors(opened(tmp_path, "webdataset", "data.image_column=png")) == [(255, 0, 0)]
    other = opened(tmp_path, "webdataset", "data.image_column=mask.png")
    assert (colors(other), reused(other)) == ([(0, 0, 255)], (1, 0))


def test_another_column_of_pictures_in_rows_is_encoded(tmp_path: Path) -> None:
    rows({**red(mask="blue"), "text": "a"}).save_to_disk(tmp_path / "data")
    assert colors(opened(tmp_path, "huggingface", "data.image_column=image")) == [(255, 0, 0)]
    other = opened(tmp_path, "huggingface", "data.image_column=mask")
    assert (colors(other), reused(other)) == ([(0, 0, 255)], (1, 0))


def test_of_changed_shards_only_what_is_new_is_encoded(tmp_path: Path) -> None:
    first = {"0.png": png("red"), "0.txt": b"a", "1.png": png("blue"), "1.txt": b"b"}
    shard(tmp_path / "data" / "0.tar", first)
    assert reused(opened(tmp_path, "webdataset")) == (2, 0)
    shard(tmp_path / "data" / "0.tar", {"new.png": png("white"), "new.txt": b"c", **first, "1.txt": b"mended"})
    shard(tmp_path / "data" / "1.tar", {"2.png": png("yellow"), "2.txt": b"d"})
    assert reused(opened(tmp_path, "webdataset")) == (4, 1)


def test_of_changed_rows_only_what_is_new_is_encoded(tmp_path: Path) -> None:
    first = [{**red(image=color), "text": color} for color in ("red", "blue")]
    rows(*first).to_parquet(tmp_path / "data" / "0.parquet")
    assert reused(opened(tmp_path, "huggingface")) == (2, 0)
    rows({**red(image="white"), "text": "white"}, *first).to_parquet(tmp_path / "data" / "0.parquet")
    assert reused(opened(tmp_path, "huggingface")) == (3, 2)


def test_a_file_is_the_same_by_any_column_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "0.png").write_bytes(png("red"))
    (tmp_path / "data" / "metadata.csv").write_text("file_name,image,text\n0.png,0.png,a\n")
    assert reused(opened(tmp_path, "imagefolder", "data.image_column=image")) == (1, 0)
    assert reused(opened(tmp_path, "imagefolder", "data.image_column=file_name")) == (1, 1)


def test_what_only_its_source_tells_is_another_with_other_settings_or_files(tmp_path: Path) -> None:
    class Listed:
        def __init__(self, files: list[Path]) -> None:
            self.files = files

        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> Record:
            return Record("a", "", lambda: Image.new("RGB", (1, 1)))

    (tmp_path / "file").write_bytes(b"x")
    digests, none, one = FileDigests(tmp_path / "digests"), Listed([]), Listed([tmp_path / "file"])
    told = [
        _identities(source, settings, digests)(source[0])
        for source in (none, one)
        for settings in ({}, {"image_column": "b"}, {"seed": 1}, {"seed": 1, "prompt_column": "c"})
    ]
    assert told[2] == told[3]
    assert len(set(told)) == 6


def test_a_changed_picture_that_a_row_names_is_encoded_anew(tmp_path: Path) -> None:
    from datasets import Dataset

    data = tmp_path / "data"
    Dataset.from_dict({"image": ["a.png"], "text": ["a"]}).save_to_disk(data)
    for color, seen in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        Image.new("RGB", (16, 16), color).save(data / "a.png")
        assert colors(opened(tmp_path, "huggingface")) == [seen]


class OfOnesOwn:
    """Pictures of a colour that a file somewhere says, which only this source reads."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Record:
        return Record(str(index), "a", lambda: Image.new("RGB", (16, 16), self.path))


def test_where_data_of_ones_own_lie_says_which_they_are(tmp_path: Path) -> None:
    for color, seen in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        config = compose("data.resolution=16", "data.validation_fraction=0.5")
        config.data.source = {"_target_": f"{__name__}.OfOnesOwn", "path": color}
        config.data.cache_dir = str(tmp_path / "caches")
        assert colors(open_latents(config, "cpu")) == [seen, seen]
