import json
from pathlib import Path

import pytest

from aaa.reports.runs import read_runs
from aaa.reports.wandb_view import save_view
from tests.helpers.made_up_runs import make_runs


def test_the_view_that_would_be_saved_has_what_differs_curves_and_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb_workspaces")
    monkeypatch.setenv("WANDB_ENTITY", "someone")
    monkeypatch.setenv("WANDB_MODE", "offline")
    make_runs(tmp_path / "sweep", [1e-3, 5e-3], [2, 4], [1], rows=5)
    (tmp_path / "sweep" / "multirun.yaml").write_text("{}")
    said = save_view(read_runs([tmp_path / "sweep"]), tmp_path / "view.json")
    assert str(tmp_path / "view.json") in said
    sent = json.loads((tmp_path / "view.json").read_text())
    assert sent["entity"] == "someone"
    text = json.dumps(sent)
    for wanted in (
        "model.value.depth",
        "optimizer.value.learning_rate",
        "val/loss",
        "flops",
        "pictures",
        f"{tmp_path.name}/sweep",
    ):
        assert wanted in text, wanted


def test_pictures_of_ones_own_prompts_are_in_the_view_of_runs_that_have_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb_workspaces")
    monkeypatch.setenv("WANDB_MODE", "offline")
    make_runs(tmp_path / "runs", [1e-3], [2], [1], rows=5)
    for own in (False, True):
        if own:
            config = tmp_path / "runs" / "0.001-2-1" / "config.yaml"
            config.write_text(f"{config.read_text()}sampling: {{prompts: [a red circle]}}")
        save_view(read_runs([tmp_path / "runs"]), tmp_path / "view.json")
        assert ('"prompts"' in (tmp_path / "view.json").read_text()) is own
