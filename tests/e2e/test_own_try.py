"""A run of one's parts that takes seconds, before the one that takes days: `+experiment=try`."""

import os
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image

from aaa.data.cache import LatentCache
from tests.e2e.conftest import SMALL, Command, metrics, only_run

FORKED = True
PROJECT = Path(__file__).parents[2] / "docs" / "my_project"
OWN = ["--config-dir=conf", "data=gradients", "encoder=haar", "model=dit_gated", "optimizer=nesterov"]
OWN += ["objective=small", "evaluation=brightness", "sampler=midpoint"]


def folder_of_pictures(root: Path) -> None:
    root.mkdir()
    for index in range(70):
        Image.new("RGB", (40, 40), (index, 90, 30)).save(root / f"{index}.png")
        (root / f"{index}.txt").write_text(f"number {index}")


@pytest.mark.parametrize(
    ("chosen", "records", "judged"),
    [
        pytest.param(["data=shapes"], 64, "quality/seen", id="shapes", marks=pytest.mark.slow),
        pytest.param(["data=imagefolder", "data.root=pictures"], 64, None, id="imagefolder", marks=pytest.mark.slow),
        pytest.param(OWN, 30, "quality/brightness_error", id="own"),
    ],
)
def test_it_takes_each_kind_of_step_and_reads_what_it_saved(
    command: Command, tmp_path: Path, chosen: list[str], records: int, judged: str | None
) -> None:
    shutil.copytree(PROJECT, tmp_path, dirs_exist_ok=True)
    folder_of_pictures(tmp_path / "pictures")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    small = [override for override in SMALL if override.startswith("model.")]
    done = command("aaa.train", *chosen, *small, "+experiment=try", PYTHONPATH=path)
    assert done.code == 0, done.err
    run = only_run(tmp_path)
    assert run.parent.name == "try"
    (cache,) = (tmp_path / ".cache" / "aaa").glob("*/index.json")
    assert len(LatentCache(cache.parent)) == records
    rows = metrics(run)
    assert {row["step"] for row in rows if "train/loss" in row} == {1, 2}
    assert {row["step"] for row in rows if "val/loss" in row} == {1, 2}
    assert judged is None or any(judged in row for row in rows)
    for step in (1, 2):
        assert (run / "checkpoints" / f"step-{step:08d}").is_dir()
        assert (run / "samples" / f"step-{step:08d}.png").is_file()
    assert (run / "model" / "model.safetensors").is_file()
    (longer,) = (line for line in done.err.splitlines() if line.startswith("  longer:"))
    read_back = command(*shlex.split(longer.partition("python -m ")[2]), PYTHONPATH=path)
    assert read_back.code == 0, read_back.err
    assert "Going on from step 1" in read_back.err
