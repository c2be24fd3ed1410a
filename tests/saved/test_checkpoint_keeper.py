"""Which checkpoints are kept."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from aaa.saved import checkpoint_keeper
from aaa.saved.checkpoint import State, load_state, take_snapshot
from aaa.saved.checkpoint_folders import checkpoints, step_of
from aaa.saved.checkpoint_keeper import CheckpointKeeper, Keep


@pytest.mark.parametrize(
    ("logged", "kept"),
    [
        (0.1, {1, 4}),  # the best, though a signal left its validation to the run that went on
        (0.9, {3, 4}),
        (None, {3, 4}),  # and that run has not come to it
    ],
)
def test_what_was_measured_after_a_signal_counts_for_the_best(
    tmp_path: Path, logged: float | None, kept: set[int]
) -> None:
    keeper = CheckpointKeeper(tmp_path / "checkpoints", Keep(last=1, best=1), in_background=False)
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters())

    def save(step: int, *, unlooked: list[str], **metrics: float) -> None:
        named = {name.replace("_", "/"): value for name, value in metrics.items()}
        state = State(step, 0.0, "cache", 0, metrics=named, unlooked=unlooked)
        keeper.save(take_snapshot(state, model, None, optimizer, {}), wait=True)

    save(1, unlooked=["validate", "sample"])
    rows: list[dict[str, float]] = [{"step": 1, "train/loss": 0.01}]
    if logged is not None:
        rows.append({"step": 1, "val/loss": logged})
    rows.append({"step": 2, "val/loss": 0.4})
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for step, loss in ((2, 0.4), (3, 0.3), (4, 0.5)):
        save(step, unlooked=[], val_loss=loss)
    assert {step_of(path) for path in checkpoints(tmp_path)} == kept


@pytest.mark.parametrize(("last", "reads"), [(2, 5), (None, 0)])
def test_a_checkpoint_that_is_kept_is_not_read_at_each_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: int | None, reads: int
) -> None:
    read: list[int] = []

    def noting(path: Path) -> State:
        read.append(step_of(path))
        return load_state(path)

    monkeypatch.setattr(checkpoint_keeper, "load_state", noting)
    keeper = CheckpointKeeper(tmp_path / "checkpoints", Keep(last=last, every_steps=1), in_background=False)
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters())
    for step in range(1, 6):
        keeper.save(take_snapshot(State(step, 0.0, "cache", 0), model, None, optimizer, {}), wait=True)
    assert len(read) == reads
    assert len(checkpoints(tmp_path)) == 5
    before = take_snapshot(State(5, 0.0, "cache", 0, metrics={"val/loss": 1.0}), model, None, optimizer, {})
    keeper.save(before, wait=True)  # in the place of the one that was there
    assert len(read) == reads + (last is not None)
