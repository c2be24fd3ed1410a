"""What a run that branches off takes over of the other one's folder."""

import json
import shutil
from pathlib import Path

import pytest

from aaa.run.going_on import Before
from aaa.run.history import copy_history
from aaa.saved.checkpoint import State
from aaa.saved.export import newest_samples
from aaa.tracking.tracker import METRICS, ODD_STEPS


def test_files_that_are_not_the_runs_own_stay_where_they_are(tmp_path: Path) -> None:
    run, branch = tmp_path / "run", tmp_path / "branch"
    (run / "samples").mkdir(parents=True)
    branch.mkdir()
    for name in ("step-00000006.png", "step-00000012.png", "step-my_favou.png", "step-00000006 copy.png"):
        (run / "samples" / name).write_text(name)
    (run / METRICS).write_text("".join(json.dumps({"step": step}) + "\n" for step in (6, 12)))
    checkpoint = run / "checkpoints" / "step-00000006"
    before = Before(checkpoint, State(6, 1.0, "abc", 0), 48, None, {})
    assert copy_history(before, branch) == [{"step": 6}]
    assert {path.name for path in (branch / "samples").iterdir()} == {"step-00000006.png", "step-00000006 copy.png"}
    for up_to_step, newest in ((12, "step-00000012.png"), (11, "step-00000006.png"), (5, None)):
        found = newest_samples(run, up_to_step)
        assert (None if found is None else found.name) == newest


def test_a_copy_that_was_cut_short_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, branch = tmp_path / "run", tmp_path / "branch"
    for name in ("samples/step-00000006.png", "validation/step-00000006.json"):
        (run / name).parent.mkdir(parents=True)
        (run / name).write_text("x")
    branch.mkdir()
    for name in (METRICS, ODD_STEPS):
        (run / name).write_text(json.dumps({"step": 6}) + "\n")
    before = Before(run / "checkpoints" / "step-00000006", State(6, 1.0, "abc", 0), 48, None, {})
    copyfile = shutil.copyfile

    def die(source: Path, to: Path) -> None:
        if source.parent.name == "validation":
            raise KeyboardInterrupt
        copyfile(source, to)

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", die)
        with pytest.raises(KeyboardInterrupt):
            copy_history(before, branch)
    assert copy_history(before, branch) == [{"step": 6}]
    there = {path.name for path in branch.rglob("*") if path.is_file()}
    assert there == {"step-00000006.png", "step-00000006.json", METRICS, ODD_STEPS}
