"""What a run is said to have changed."""

from pathlib import Path

import yaml

from aaa.run.naming import overrides_of, run_name
from aaa.tracking.recorded_overrides import OVERRIDES


def test_what_is_said_twice_is_the_last(tmp_path: Path) -> None:
    typed = ["evaluation=none", "model.depth=2", "evaluation=shapes", "+model.depth=4", "~logger.notes", "seed=1"]
    once = ["evaluation=shapes", "+model.depth=4", "~logger.notes", "seed=1"]
    assert overrides_of(tmp_path, typed) == once
    (tmp_path / OVERRIDES).parent.mkdir()
    (tmp_path / OVERRIDES).write_text(yaml.safe_dump(typed))
    assert overrides_of(tmp_path, []) == once
    assert run_name("mine", once, None) == "mine evaluation=shapes depth=4 seed=1"
