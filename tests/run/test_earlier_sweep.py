"""What a sweep says of its jobs."""

from pathlib import Path

import pytest

from tests.e2e.conftest import fork_in


@pytest.mark.parametrize("command", [["aaa.sample", "prompt=a red cat"], ["aaa.evaluate"]])
def test_jobs_of_commands_that_take_a_model_are_told_as_they_were_typed(tmp_path: Path, command: list[str]) -> None:
    name, *arguments = command
    done = fork_in(tmp_path, name, "-m", "model=nowhere", *arguments, "seed=0,1")
    assert done.code == 1
    prompt = "prompt='a red cat' " if arguments else ""
    told = [line for line in (done.out + done.err).splitlines() if "seed=" in line]
    assert told == [f"#{seed}: model=nowhere {prompt}seed={seed}" for seed in (0, 1)]
