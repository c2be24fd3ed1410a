"""What a run that branches off takes over of the other one's folder."""

import json
from pathlib import Path

from aaa.run.going_on import Before
from aaa.run.history import copy_history
from aaa.saved.checkpoint import State
from aaa.saved.export import newest_samples
from aaa.tracking.tracker import METRICS


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
    newest = newest_samples(run)
    assert newest is not None
    assert newest.name == "step-00000012.png"
