"""The recipe for emoji as a user types it, cut short."""

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import Command, metrics, only_run

FORKED = True


@pytest.mark.slow
def test_the_recipe_trains_draws_and_is_judged(command: Command, tmp_path: Path) -> None:
    short = ["budget.seconds=null", "trainer.max_steps=8", "trainer.sample_every_steps=0", "logger=none"]
    short += ["data.source.skin_tones=false", "sampling.steps=2", "evaluation.num_images=8", "validation.num_records=8"]
    done = command("aaa.train", "+experiment=openmoji", *short)
    assert done.code == 0, done.err
    run = only_run(tmp_path)
    logged = {key: value for row in metrics(run) for key, value in row.items()}
    for name in ("seen", "held_out", "seen_alike"):
        share = f"quality/right_{name}"
        assert 0 <= logged[f"{share}_low"] <= logged[share] <= logged[f"{share}_high"] <= 1
        assert logged[share] <= logged[f"{share}_top5"]
        assert logged[f"{share}_distance"] > 0
    config = json.loads((run / "model" / "config.json").read_text())
    assert config["encoder"]["prompt_dim"] == 384
    assert config["model"]["in_channels"] == 192
    # Judged again from disk, and drawn from with words of one's own.
    shown = run.relative_to(tmp_path)
    judged = command("aaa.evaluate", f"model={shown}", "evaluation=openmoji", "evaluation.num_images=8")
    assert judged.code == 0, judged.err
    (record,) = (run / "evaluation").glob("model-model,*.json")
    written = json.loads(record.read_text())["metrics"]
    assert written["quality/right_held_out_distance"] == pytest.approx(
        logged["quality/right_held_out_distance"], rel=0.05
    )
    drawn = command("aaa.sample", f"model={shown}", "prompt=red heart", "steps=2", "out=drawn")
    assert drawn.code == 0, drawn.err
