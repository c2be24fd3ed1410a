"""Runs on data as it comes: buckets, several captions, Hugging Face data sets, shards, emoji."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from aaa.data.cache import LatentCache
from tests.data.test_huggingface import dataset
from tests.data.test_webdataset import png, shard
from tests.e2e.conftest import SMALL, Command, losses, only_run

FORKED = True

SHORT = [
    *(override for override in SMALL if not override.startswith(("data.source", "evaluation"))),
    "trainer.max_steps=2",
    "logger=none",
]


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Tall, wide and square pictures with two captions each."""
    root = tmp_path / "pictures"
    root.mkdir()
    rows = []
    for index in range(12):
        size = [(20, 40), (40, 20), (32, 32)][index % 3]
        Image.new("RGB", size, (index * 20, 90, 30)).save(root / f"{index}.png")
        rows.append({"image": f"{index}.png", "short": f"number {index}", "long": f"a picture, number {index}"})
    (root / "metadata.json").write_text(json.dumps(rows))
    return root


def test_buckets_and_captions_in_one_run(command: Command, tmp_path: Path, mixed: Path) -> None:
    arguments = ["data=imagefolder", f"data.root={mixed}", "data.prompt_column={short: 3, long: 1}", *SHORT]
    arguments += ["data.buckets=true", "trainer.batch_size=2", "trainer.max_steps=6", "data.resolution=32"]
    done = command("aaa.train", *arguments, "data.validation_fraction=0.3", "sampling.num_images=6")
    assert done.code == 0, done.err
    (folder,) = (tmp_path / ".cache" / "aaa").glob("imagefolder-*/")
    cache = LatentCache(folder)
    assert len(cache.shapes) == 3
    assert "val/loss is of 4 held-out pictures, too few" in done.err
    assert "pictures to train on, fewer" not in done.err
    assert all(len(record.prompts) == 2 for record in cache.records)
    run = only_run(tmp_path)
    resumed = command("aaa.train", f"resume={run}", "trainer.max_steps=8")
    assert resumed.code == 0, resumed.err
    assert list(losses(run)) == list(range(1, 9))
    assert (run / "samples" / "step-00000006.png").is_file()


def test_a_resumed_run_with_buckets_takes_the_same_steps(command: Command, tmp_path: Path, mixed: Path) -> None:
    arguments = ["data=imagefolder", f"data.root={mixed}", "data.prompt_column=[short,long]", *SHORT]
    arguments += ["data.buckets=true", "trainer.batch_size=2", "data.resolution=32", "lr_scheduler=constant"]
    whole = command("aaa.train", *arguments, "name=whole", "trainer.max_steps=6")
    halved = command("aaa.train", *arguments, "name=halved", "trainer.max_steps=3")
    assert whole.code == halved.code == 0, whole.err + halved.err
    (one,), (two,) = ((tmp_path / "outputs" / name).iterdir() for name in ("whole", "halved"))
    assert command("aaa.train", f"resume={two}", "trainer.max_steps=6").code == 0
    assert losses(one) == losses(two)


@pytest.mark.parametrize("kind", ["huggingface", "webdataset", "openmoji"])
def test_each_kind_of_data_trains(command: Command, tmp_path: Path, kind: str) -> None:
    arguments = {
        "huggingface": ["data.path=data"],
        "webdataset": ["data.path=data"],
        "openmoji": ["data.source.skin_tones=false", "evaluation.num_images=4", "evaluation.num_real=40"],
    }[kind]
    if kind == "huggingface":
        dataset().save_to_disk(tmp_path / "data")
    elif kind == "webdataset":
        files = {f"{i}.{end}": png("red") if end == "png" else b"red" for i in range(4) for end in ("png", "txt")}
        shard(tmp_path / "data" / "0.tar", files)
    done = command("aaa.train", f"data={kind}", *arguments, *SHORT)
    assert done.code == 0, done.err
    card = (only_run(tmp_path) / "model" / "README.md").read_text()
    if kind == "openmoji":
        assert "All emojis designed by OpenMoji" in done.err
        assert "All emojis designed by OpenMoji" in card
        assert "license: cc-by-sa-4.0" in card
        assert "4 pictures for held-out prompts" in done.err
        assert "the same for pairs never seen" in card
    else:
        assert "whose licence the run was not told" in card
    if kind == "webdataset":
        assert "There are 4 pictures to train on, fewer than trainer.batch_size=8" in done.err


def test_encode_shows_what_is_kept(command: Command, tmp_path: Path, picture_folder: Callable[..., Path]) -> None:
    done = command("aaa.encode", "data=imagefolder", f"data.root={picture_folder()}", "data.resolution=16")
    assert done.code == 0, done.err
    assert "6 records in .cache/aaa/imagefolder-patches-16-" in done.err
    assert "Decoded again: 6 of them, all the same: .cache/aaa/imagefolder-" in done.err
    (folder,) = (tmp_path / ".cache" / "aaa").glob("imagefolder-*/")
    assert Image.open(folder / "reconstructions.png").width > 300


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=huggingface"], "data.path"),
        (["data=huggingface", "data.path=nowhere"], "data.path=nowhere: there is no such folder"),
        (["data=imagefolder", "data.root="], "data.root= is empty"),
        (["data=webdataset", "data.path=nowhere"], "data.path=nowhere: no .tar file there"),
        (["data.max_aspect_ratio=0.5"], "data.max_aspect_ratio=0.5: must be at least 1"),
    ],
)
def test_data_that_is_not_there_is_named(command: Command, overrides: list[str], message: str) -> None:
    assert message in command("aaa.train", *overrides).error
