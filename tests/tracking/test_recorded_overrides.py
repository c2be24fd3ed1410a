"""What a command was told, as Hydra has left it."""

from pathlib import Path

import pytest
import yaml

from aaa.tracking.recorded_overrides import (
    MULTIRUN,
    OVERRIDES,
    UNREADABLE,
    overrides_of_run,
    overrides_of_sweep,
    own_overrides,
)


@pytest.mark.parametrize("told", [[], ["seed=1", "+model.depth=2", "hydra.run.dir=x", "resume=auto", "-m"]])
def test_what_was_told_is_read_back(tmp_path: Path, told: list[str]) -> None:
    (tmp_path / OVERRIDES).parent.mkdir()
    (tmp_path / OVERRIDES).write_text(yaml.safe_dump(told))
    (tmp_path / MULTIRUN).write_text(yaml.safe_dump({"hydra": {"overrides": {"task": told}}}))
    assert overrides_of_run(tmp_path) == overrides_of_sweep(tmp_path) == told
    assert own_overrides(told) == told[:2]


@pytest.mark.parametrize("content", [None, "", "{", "a: 1", "hydra: 3", "hydra: {overrides: {task: all}}"])
def test_what_cannot_be_read_is_no_commands(tmp_path: Path, content: str | None) -> None:
    (tmp_path / OVERRIDES).parent.mkdir()
    for name in (OVERRIDES, MULTIRUN):
        if content is not None:
            (tmp_path / name).write_text(content)
    assert overrides_of_run(tmp_path) is None
    assert overrides_of_sweep(tmp_path) is None
    assert own_overrides(None) == [UNREADABLE] != own_overrides([])
