"""Of the processes of a SLURM job one asks for the job to be queued again."""

import logging
import signal
from pathlib import Path

import pytest

from aaa.cli.requeue import _requeue


@pytest.mark.parametrize(
    ("variables", "asks"),
    [
        ({}, True),
        ({"SLURM_PROCID": "0"}, True),
        ({"SLURM_PROCID": "1"}, False),
        ({"SLURM_PROCID": "0", "RANK": "0", "WORLD_SIZE": "2"}, True),
        ({"SLURM_PROCID": "0", "RANK": "1", "WORLD_SIZE": "2"}, False),
    ],
)
def test_the_first_process_asks(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    variables: dict[str, str],
    asks: bool,
) -> None:
    asked = tmp_path / "asked"
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with caplog.at_level(logging.INFO), pytest.raises(SystemExit) as ended:
        _requeue(signal.SIGUSR1, None)
    assert ended.value.code == 0
    assert asked.exists() is asks
