"""Training records chosen by their columns and sizes, as a user types it."""

import csv
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from tests.e2e.conftest import Command, losses

FORKED = True
RUN = [
    *("data=imagefolder", "data.root=mine", "data.resolution=8", "objective=velocity", "logger=none"),
    *("model.dim=32", "model.depth=1", "model.heads=2", "trainer.batch_size=4", "trainer.max_steps=4"),
    *("trainer.log_every_steps=1", "trainer.validate_every_steps=2", "trainer.save_every_steps=2", "evaluation=none"),
    *("trainer.sample_every_steps=4", "sampling.steps=1", "sampling.num_images=1", "data.validation_fraction=0.3"),
]


def pictures(root: Path, scores: list[float]) -> None:
    root.mkdir(exist_ok=True)
    with (root / "metadata.csv").open("w", newline="") as table:
        csv.writer(table).writerow(["image", "prompt", "aesthetic"])
        csv.writer(table).writerows([f"{n}.png", f"number {n}", score] for n, score in enumerate(scores))
    for number in range(len(scores)):
        Image.new("RGB", (8 + number, 9), (8 * number, 90, 30)).save(root / f"{number}.png")


def test_a_condition_is_typed_as_it_is_meant(command: Command, tmp_path: Path) -> None:
    pictures(tmp_path / "mine", [n / 4 for n in range(32)])
    done = command("aaa.train", *RUN, "data.keep=aesthetic >= 5 and width in [28, 29, 30, 40]", "trainer.max_steps=1")
    assert done.code == 0, done.err
    assert "\ndata.keep=aesthetic >= 5 and width in [28, 29, 30, 40]: " in done.err
    assert " of 22 training records\n" in done.err
    refused = command("aaa.train", *RUN, "data.keep=astethic > 5")
    assert "data.keep=astethic > 5: there is no column `astethic` (did you mean 'aesthetic'?)" in refused.error


@pytest.mark.slow
def test_a_sweep_over_thresholds_is_compared_and_resumed(command: Command, tmp_path: Path) -> None:
    pictures(tmp_path / "mine", [n / 4 for n in range(32)])
    judged = ["evaluation=latent_distance", "evaluation.num_images=8", "evaluation.num_real=20"]
    keep = 'data.keep="aesthetic>4","aesthetic>5 and width>=30"'
    swept = command("aaa.train", "-m", *RUN, *judged, keep, "name=swept")
    assert swept.code == 0, swept.err
    assert "data.keep=aesthetic>4: " in swept.err
    assert "data.keep=aesthetic>5 and width>=30: " in swept.err
    assert len([*(tmp_path / ".cache" / "aaa").glob("imagefolder-*/")]) == 1
    (sweep,) = (tmp_path / "outputs" / "swept").iterdir()
    one, two = (json.loads((sweep / n / "environment.json").read_text())["data"] for n in "01")
    assert one["validation_table"] == two["validation_table"]
    assert one["kept_records"] != two["kept_records"]
    one, two = (json.loads((sweep / n / "metrics.jsonl").read_text().splitlines()[-1]) for n in "01")
    floor = "quality/latent_frechet_floor"  # what a perfect model would have: of real pictures alone
    assert one[floor] == two[floor]
    compared = command("aaa.compare", str(sweep))
    assert compared.code == 0, compared.err
    assert re.search(r"\d+ pictures", compared.out)
    whole = command("aaa.train", *RUN, "data.keep=aesthetic > 4", "name=whole", "lr_scheduler=constant")
    halved = command(
        "aaa.train", *RUN, "data.keep=aesthetic > 4", "name=halved", "lr_scheduler=constant", "trainer.max_steps=2"
    )
    assert whole.code == halved.code == 0, whole.err + halved.err
    (of_whole,), (of_halved,) = ((tmp_path / "outputs" / name).iterdir() for name in ("whole", "halved"))
    assert command("aaa.train", f"resume={of_halved}", "trainer.max_steps=4").code == 0
    assert losses(of_whole) == losses(of_halved)
    pictures(tmp_path / "mine", [8 - n / 4 for n in range(32)])
    scored_anew = command("aaa.train", f"resume={of_halved}", "trainer.max_steps=6")
    assert scored_anew.code == 0, scored_anew.err
    assert "kept_records" in scored_anew.err
