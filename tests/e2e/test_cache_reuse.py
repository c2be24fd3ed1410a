"""A data set that grows, is mended or was stopped half-way: only what is missing is encoded again."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from aaa.saved.checkpoint_folders import write_manifest
from tests.e2e.conftest import Command, Finished
from tests.helpers.earlier_cache import as_earlier_version

FORKED = True

LONGER = "trainer.max_steps=14"
ENCODE = ["aaa.encode", "data=imagefolder", "data.root=pictures", "data.resolution=16", "encoder=pixel"]


def test_a_growing_folder_is_encoded_bit_by_bit(
    command: Command, tmp_path: Path, picture_folder: Callable[..., Path]
) -> None:
    root = picture_folder(8)

    def taken_over() -> int:
        done = command(*ENCODE)
        assert done.code == 0, done.err
        found = re.search(r"Of \d+ records (\d+) were encoded already", done.err)
        return int(found[1]) if found else 0

    assert taken_over() == 0
    (root / "images" / "new.png").write_bytes((root / "images" / "000.png").read_bytes())
    table = (root / "metadata.csv").read_text()
    (root / "metadata.csv").write_text(table.replace("number 5", "number five") + 'new.png,"another"\n')
    assert taken_over() == 7
    # A picture's new name is no new content; a new background is.
    (root / "images" / "001.png").rename(root / "images" / "renamed.png")
    (root / "metadata.csv").write_text((root / "metadata.csv").read_text().replace("001.png", "renamed.png"))
    assert taken_over() == 9
    assert "were encoded already" not in command(*ENCODE, "data.background_color=black").err


def test_a_damaged_cache_is_named_and_mended(
    command: Command, tmp_path: Path, picture_folder: Callable[..., Path]
) -> None:
    picture_folder(8)
    assert command(*ENCODE).code == 0
    (shard,) = (tmp_path / ".cache" / "aaa").glob("*/shard-00000.safetensors")
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-100])
    mended = command(*ENCODE)
    assert mended.code == 0, mended.err
    assert "the latent cache is damaged" in mended.err
    assert shard.read_bytes() == whole
    assert "damaged" not in command(*ENCODE).err


def test_one_bad_picture_does_not_cost_the_others_twice(
    command: Command, tmp_path: Path, picture_folder: Callable[..., Path]
) -> None:
    root = picture_folder(8)
    picture = root / "images" / "006.png"
    whole = picture.read_bytes()
    picture.write_bytes(whole[:40])
    failed = command(*ENCODE, "encoder.batch_size=2")
    assert "1 of 8 records cannot be read" in failed.error
    picture.write_bytes(whole)
    mended = command(*ENCODE, "encoder.batch_size=2")
    assert "Of 8 records 7 were encoded already and taken over" in mended.err
    assert sorted(path.name[:11] for path in (tmp_path / ".cache" / "aaa").iterdir() if path.is_dir()) == [
        "imagefolder"
    ]


def test_a_run_of_an_earlier_version_goes_on_with_its_own_latents(
    command: Command, session_folder: Path, small_run: tuple[Path, Finished], tmp_path: Path
) -> None:
    run, _ = small_run
    shutil.copytree(run, tmp_path / "run")
    known = (run / "environment.json").read_text()
    indices = (session_folder / ".cache" / "aaa").glob("*/index.json")  # other tests' are there too
    (cache,) = (index.parent for index in indices if json.loads(index.read_text())["fingerprint"] in known)
    earlier = shutil.copytree(cache, tmp_path / ".cache" / "aaa" / "shapes-pixel-16-0000000000000000")
    index = json.loads((earlier / "index.json").read_text())
    fingerprint, index["fingerprint"], index["origin"]["code"] = index["fingerprint"], "0" * 64, "of then"
    (earlier / "index.json").write_text(json.dumps(index))
    as_earlier_version(earlier)
    records = (earlier / "records.jsonl").read_text()
    (earlier / "records.jsonl").write_text(re.sub(r', "picture": "\w+"', "", records))
    checkpoints = list((tmp_path / "run" / "checkpoints").iterdir())
    for file in (tmp_path / "run" / "environment.json", *(path / "state.json" for path in checkpoints)):
        file.write_text(file.read_text().replace(fingerprint, "0" * 64))
    for checkpoint in checkpoints:
        write_manifest(checkpoint)
    for arguments in (("aaa.evaluate", "model=run", "evaluation=none"), ("aaa.train", "resume=run", LONGER)):
        done = command(*arguments)
        assert done.code == 0, done.err
        assert "Going on with the latents that the run was trained on" in done.err
    assert [path.name for path in earlier.parent.iterdir() if path.is_dir()] == [earlier.name]
