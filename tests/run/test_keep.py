"""`data.keep`: which training records are trained on."""

import csv
import json
import logging
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from PIL import Image

from aaa.assembly.data import open_data
from aaa.assembly.training_data import TrainingData
from aaa.data import cache_writer
from aaa.data.kept import KeptRecords
from aaa.data.mixed_order import MixedRecords
from aaa.errors import UserError
from aaa.evaluation.evaluated_model import Group
from aaa.run.run_data import require_same
from tests.helpers.composed import checked
from tests.run.test_machines import refusals

USUAL = ["objective=velocity", "data.resolution=8"]
COUNT = 40


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Pictures whose aesthetic score and width are their number, but that number 7 has no score."""
    root = tmp_path / "pictures"
    root.mkdir()
    write(root, {number: number for number in range(COUNT) if number != 7})
    for number in range(COUNT):
        Image.new("RGB", (8 + number, 12), (number, 6 * number, 90)).save(root / f"{number}.png")
    return root


def write(root: Path, scores: dict[int, object]) -> None:
    with (root / "metadata.csv").open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(["image", "prompt", "aesthetic"])
        writer.writerows([f"{number}.png", f"number {number}", scores.get(number, "")] for number in range(COUNT))


@cache
def composed(*overrides: str) -> DictConfig:
    return checked(*USUAL, *overrides)


def opened(root: Path, keep: str | None = None, **data: Any) -> TrainingData:
    config = deepcopy(composed("data=imagefolder", "data.root=."))
    config.data.update({"root": str(root), "cache_dir": f"{root.parent}/cache", "keep": keep} | data)
    return open_data(config)


def chosen(data: TrainingData) -> list[int]:
    """The numbers of the pictures that are trained on."""
    train = data.train_records
    assert not isinstance(train, MixedRecords)
    indices = train if isinstance(train, torch.Tensor) else train[torch.arange(len(train))]
    return [int(Path(data.cache.records[index].key).stem) for index in indices.tolist()]


@pytest.mark.parametrize("flip", [False, True])
def test_pictures_that_keep_their_shape_are_chosen_too(tmp_path: Path, *, flip: bool) -> None:
    """Their cache has them shape by shape."""
    root = tmp_path / "pictures"
    root.mkdir()
    write(root, {number: number for number in range(COUNT)})
    for number in range(COUNT):
        size = [(32, 32), (64, 16), (16, 64)][number % 3]
        Image.new("RGB", size, (number, 6 * number, 90)).save(root / f"{number}.png")
    how: dict[str, Any] = {"buckets": True, "resolution": 32, "horizontal_flip": flip}
    whole, few = opened(root, **how), opened(root, "aesthetic >= 20", **how)
    assert len(few.cache.shapes) == 3
    assert chosen(few) == [number for number in chosen(whole) if number >= 20]


def test_conditions_share_the_cache_and_what_is_held_out(pictures: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = opened(pictures, validation_fraction=0.2)
    with caplog.at_level(logging.INFO, "aaa"):
        few = opened(pictures, "aesthetic >= 20 and width < 43", validation_fraction=0.2)
    assert chosen(few) == [number for number in chosen(whole) if 20 <= number < 35]
    assert few.cache.path == whole.cache.path
    assert torch.equal(few.held_out, whole.held_out)
    assert few.table is not None
    assert whole.table is not None
    assert few.table.digest == whole.table.digest
    told = f"{len(chosen(few))} of {len(chosen(whole))} training records"
    assert f"data.keep=aesthetic >= 20 and width < 43: {told}" in caplog.text
    assert whole.kept_digest is None
    assert few.kept_digest is not None
    write(pictures, {number: number + 1 for number in range(COUNT)})
    assert torch.equal(few.records["train"], whole.records["train"]), "what pictures are compared with"
    assert few.records["trained_on"] is few.train_records
    assert "trained_on" not in whole.records
    other = opened(pictures, "aesthetic >= 20 and width < 43", validation_fraction=0.2)
    assert other.cache.path == whole.cache.path  # a score is nothing that is encoded
    assert other.kept_digest != few.kept_digest


def test_machines_whose_tables_have_other_scores_are_told_so(pictures: Path) -> None:
    every = opened(pictures, "aesthetic > 20")
    write(pictures, {number: 2 * number for number in range(COUNT)})
    more = opened(pictures, "aesthetic > 20")
    assert len(more.train_records) != len(every.train_records)
    said = refusals(lambda processes: require_same((every, more)[processes.index], processes), 2)
    assert all(one.startswith("data.keep: process 1 (") for one in said)
    assert refusals(lambda processes: require_same(more, processes), 2) == [""] * 2


def test_what_hangs_on_a_missing_value_is_counted(pictures: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "aaa"):
        data = opened(pictures, "aesthetic >= 0", validation_fraction=0)
    assert chosen(data) == [number for number in range(COUNT) if number != 7]
    assert "39 of 40 training records (of 1 it hangs on a missing value, as in metadata.csv:9)" in caplog.text
    assert 7 in chosen(opened(pictures, "aesthetic is None or aesthetic > 30", validation_fraction=0))


def test_mirrored_copies_go_with_their_pictures_past_what_is_unreadable(pictures: Path) -> None:
    for number in (0, 21, 30):
        (pictures / f"{number}.png").write_bytes(b"no picture")
    more = {"horizontal_flip": True, "skip_unreadable": True, "validation_fraction": 0}
    data = opened(pictures, "aesthetic in [20, 21, 22, 39]", **more)
    assert chosen(data) == [20, 22, 39, 20, 22, 39]


@pytest.mark.parametrize(
    ("rows", "kept"),
    [
        (["0.png,cat,9,extra", "0.png,cat,1", "1.png,dog,8", "2.png,x,1"], ["1"]),
        (["0.png,cat", "0.png,cat,7", "1.png,dog,8", "2.png,x,1"], ["0", "1"]),
        (["0.png,a cat, sleeping,7", "1.png,dog,8", "2.png,x,1"], ["1"]),
    ],
)
def test_rows_that_are_broken_are_passed_over_or_told_for_what_they_are(
    tmp_path: Path, rows: list[str], kept: list[str]
) -> None:
    root = tmp_path / "pictures"
    root.mkdir()
    (root / "metadata.csv").write_text("\n".join(["image,prompt,aesthetic", *rows]))
    for number in range(3):
        Image.new("RGB", (9, 9), (number, 90, 30)).save(root / f"{number}.png")
    data = opened(root, "aesthetic > 5", skip_unreadable=True, validation_fraction=0)
    assert [str(number) for number in chosen(data)] == kept
    with pytest.raises(UserError) as without:
        opened(root, validation_fraction=0)
    with pytest.raises(UserError) as asked:
        opened(root, "aesthetic > 5", validation_fraction=0)
    assert str(asked.value) == str(without.value)


def test_of_a_list_of_captions_the_first_is_the_prompt(tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    root.mkdir()
    lists: list[tuple[list[str], list[str]]] = [
        ([" a cat with a logo", "cat"], ["logo"]),
        (["dog", "a logo"], ["no logo"]),
    ]
    rows = [{"file_name": f"{n}.png", "prompt": prompts, "tags": tags} for n, (prompts, tags) in enumerate(lists)]
    (root / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for number in range(2):
        Image.new("RGB", (9, 9), (number, 90, 30)).save(root / f"{number}.png")
    for keep, kept in (('"logo" not in prompt', [1]), ("len(prompt) > 10", [0]), ('"logo" in tags', [0])):
        assert chosen(opened(root, keep, validation_fraction=0)) == kept


def test_the_few_that_are_taken_are_chosen_from(pictures: Path) -> None:
    data = opened(pictures, "aesthetic > 20", max_records=8, validation_fraction=0)
    assert chosen(data) == [25, 30, 35]
    assert len(data.cache) == 8


def test_records_of_a_large_cache_are_chosen_without_a_list(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_writer, "LARGE", 10)
    whole = opened(pictures, validation_fraction=0.2)
    few = opened(pictures, "aesthetic > 20", validation_fraction=0.2)
    assert isinstance(few.train_records, KeptRecords)
    assert torch.equal(few.records["train"], whole.records["train"])
    assert set(few.records["trained_on"].tolist()) == set(chosen(few))
    assert chosen(few) == [number for number in chosen(whole) if number > 20]
    assert torch.equal(few.held_out, whole.held_out)


def test_each_part_of_a_mixture_has_its_own(pictures: Path) -> None:
    parts = ["data=mixture", "+data@data.parts.drawn=shapes", "+data@data.parts.mine=imagefolder"]
    parts += [f"data.parts.mine.root={pictures}", f"data.cache_dir={pictures.parent}/cache"]
    parts += ["data.parts.drawn.source.num_records=40", "data.parts.drawn.source.num_validation=8"]
    config = checked(*USUAL, *parts)
    whole = open_data(config)
    config.data.parts.mine.keep, config.data.parts.drawn.keep = "aesthetic > 20", '"circle" in prompt'
    few = open_data(config)
    assert torch.equal(few.held_out, whole.held_out)
    assert few.table is not None
    assert whole.table is not None
    assert few.table.digest == whole.table.digest
    looks: list[tuple[TrainingData, Group]] = [(whole, "train"), (few, "trained_on"), (few, "train")]
    before, after, chosen_from = (
        {name: [data.cache.records[i] for i in part[group].tolist()] for name, part in data.records_of_parts.items()}
        for data, group in looks
    )
    assert chosen_from == before
    assert torch.equal(few.records["train"], whole.records["train"])
    assert after["mine"] == [record for record in before["mine"] if int(record.prompt.split()[-1]) > 20]
    assert after["drawn"] == [record for record in before["drawn"] if "circle" in record.prompt]
    assert 0 < len(after["drawn"]) < len(before["drawn"])
    config.data.parts.mine.keep = "aestetic > 1"
    with pytest.raises(UserError, match=r"data\.parts\.mine\.keep=aestetic > 1: there is no column `aestetic`"):
        open_data(config)
    config.data.parts.mine.weight = 0
    assert not len(open_data(config).records_of_parts["mine"]["train"]), "its condition is never asked"
    with pytest.raises(UserError, match=r"data\.keep: belongs to a part of the mixture: data\.parts\.drawn\.keep"):
        checked(*USUAL, *parts, "data.keep='aesthetic > 1'")


def test_of_a_cache_elsewhere_the_prompts_are_known(pictures: Path) -> None:
    cache = opened(pictures).cache.path
    config = checked(*USUAL, "data=cache", f"data.address={cache}", f"data.cache_dir={pictures.parent}/copies")
    whole = chosen(open_data(config))
    config.data.keep = '"number 1" in prompt'
    assert chosen(open_data(config)) == [number for number in whole if number in (1, *range(10, 20))]
    config.data.keep = "width > 9"
    with pytest.raises(UserError, match="only `prompt` is known, and not `width`"):
        open_data(config)


@pytest.mark.parametrize(
    ("keep", "told"),
    [
        (
            "aestetic > 5",
            r"there is no column `aestetic` \(did you mean 'aesthetic'\?\)\. There is: image, prompt, aesthetic, w",
        ),
        ("prompt > 5", r"40 of 40 records.*\n  metadata\.csv:2: prompt is 'number 0', no number"),
        (
            "aesthetic > 99",
            r"holds of none of 40 records \(of 1 it.* metadata\.csv:9\)\. metadata\.csv:2 has aesthetic '0'",
        ),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_encoded(pictures: Path, keep: str, told: str) -> None:
    with pytest.raises(UserError, match=rf"(?s)data\.keep={keep}: {told}"):
        opened(pictures, keep)
    assert not [*(pictures.parent / "cache").glob("*/")]


def test_held_out_records_alone_are_nothing_to_train_on(pictures: Path) -> None:
    with (pictures / "metadata.csv").open() as table:
        rows = [*csv.reader(table)]
    with (pictures / "metadata.csv").open("w", newline="") as table:
        split = ["split", *("test" if number > 20 else "train" for number in range(COUNT))]
        csv.writer(table).writerows([*row, part] for row, part in zip(rows, split, strict=True))
    with pytest.raises(UserError, match="holds of none of 40 records"):
        opened(pictures, "aesthetic > 20")


def test_drawn_data_have_sizes_and_prompts(tmp_path: Path) -> None:
    config = checked(*USUAL, "data.source.num_records=12", "data.source.num_validation=4", f"data.cache_dir={tmp_path}")
    config.data.keep = "aesthetic > 5"
    with pytest.raises(UserError, match=r"no column `aesthetic`\. There is: width, height, prompt\."):
        open_data(config)
    config.data.keep = "width == 8"
    assert len(open_data(config).train_records) == 12


def test_a_condition_that_is_none_is_refused_with_the_config() -> None:
    with pytest.raises(UserError, match=r"data\.keep=__import__\('os'\): "):
        checked("data.keep=\"__import__('os')\"")
    with pytest.raises(UserError, match=r"data\.parts\.a\.keep=1: "):
        checked("data=mixture", "+data@data.parts.a=shapes", "data.parts.a.keep='1'")
