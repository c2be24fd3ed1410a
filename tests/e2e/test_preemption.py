"""Being stopped by a cluster: saved and gone within seconds, with the exit code that says why."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from aaa.saved.checkpoint_folders import checkpoints, damage
from tests.e2e.conftest import SMALL, Finished, losses, only_run, steps_so_far
from tests.helpers.forked import Forked, start
from tests.helpers.waiting import wait_until

SmallRun = tuple[Path, Finished]
ENDLESS = ["trainer.max_steps=100000", "trainer.save_every_steps=0", "trainer.validate_every_steps=0"]
COMMAND = ["aaa.train", *SMALL, *ENDLESS, "trainer.sample_every_steps=0", "logger=none", "resume=auto"]


def started(folder: Path, *arguments: str, steps: int = 5, environment: dict[str, str] | None = None) -> Forked:
    """A run that has taken some steps more than before."""

    def taken() -> int:
        return sum(len(steps_so_far(path.parent)) for path in folder.glob("outputs/*/*/metrics.jsonl"))

    before = taken()
    run = start(folder, *arguments, environment=environment)
    wait_until(lambda: taken() >= before + steps, run)
    return run


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 0)], ids=str
)
def test_a_signal_saves_and_exits_within_seconds(
    tmp_path: Path, small_run: SmallRun, number: signal.Signals, code: int
) -> None:
    shutil.copytree(small_run[0].parents[2] / ".cache", tmp_path / ".cache")
    run = started(tmp_path, *COMMAND)
    began = time.monotonic()
    run.signal(number)
    assert run.wait(120) == code, run.err.read_text()
    print(f"{time.monotonic() - began:.2f} s from {number.name} to the exit")
    folder = only_run(tmp_path)
    (checkpoint,) = checkpoints(folder)
    assert damage(checkpoint) is None
    assert int(checkpoint.name.removeprefix("step-")) == max(losses(folder))


def test_the_same_command_twice_at_once_is_one_run(tmp_path: Path, small_run: SmallRun) -> None:
    """The second finds what the first has begun; that is busy, or over by then."""
    shutil.copytree(small_run[0].parents[2] / ".cache", tmp_path / ".cache")
    command = ["aaa.train", *SMALL, "trainer.sample_every_steps=0", "logger=none", "resume=auto"]
    both = [start(tmp_path, *command) for _ in range(2)]
    codes = [one.wait(300) for one in both]
    assert 0 in codes
    assert list(losses(only_run(tmp_path))) == list(range(1, 13))
    for one, code in zip(both, codes, strict=True):
        said = one.err.read_text()
        assert code == 0 or "another run is training in this folder right now. Wait until it ends" in said


def test_the_same_command_starts_goes_on_and_ends(tmp_path: Path, small_run: SmallRun) -> None:
    shutil.copytree(small_run[0].parents[2] / ".cache", tmp_path / ".cache")
    command = ["aaa.train", *SMALL, "trainer.sample_every_steps=0", "logger=none", "resume=auto"]
    first = start(tmp_path, *command)
    assert first.wait(300) == 0, first.err.read_text()
    again = start(tmp_path, *command)
    assert again.wait(300) == 0, again.err.read_text()
    assert "is finished: there is nothing left to do" in again.err.read_text()
    run = only_run(tmp_path)
    other = start(tmp_path, *command, "seed=1")
    assert other.wait(300) == 0, other.err.read_text()
    assert len(list(tmp_path.glob("outputs/*/*"))) == 2
    assert list(losses(run)) == list(range(1, 13))

    named = start(tmp_path, *command, f"hydra.run.dir={run}", "seed=2")
    assert named.wait(300) == 1
    assert "that folder holds a run of another command" in named.err.read_text()


@pytest.mark.slow
def test_a_run_that_saves_only_when_it_is_stopped_comes_to_its_end_once(tmp_path: Path, small_run: SmallRun) -> None:
    shutil.copytree(small_run[0].parents[2] / ".cache", tmp_path / ".cache")
    command = [*COMMAND, "trainer.max_steps=600"]
    first = started(tmp_path, *command)
    first.signal(signal.SIGTERM)
    assert first.wait(300) == 143
    run = only_run(tmp_path)
    for said in ("Going on from step", "is finished: there is nothing left to do"):
        again = start(tmp_path, *command)
        assert again.wait(300) == 0, again.err.read_text()
        assert said in again.err.read_text()
    assert list(losses(run)) == list(range(1, 601))


def test_slurm_is_asked_to_queue_the_job_again(tmp_path: Path, small_run: SmallRun) -> None:
    shutil.copytree(small_run[0].parents[2] / ".cache", tmp_path / ".cache")
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    asked = tmp_path / "asked"
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {asked}\nls {tmp_path}/outputs/*/*/checkpoints >> {asked}\n')
    scontrol.chmod(0o755)
    slurm = {"SLURM_JOB_ID": "4711", "PATH": f"{scontrol.parent}:{os.environ['PATH']}"}
    run = started(tmp_path, *COMMAND, environment=slurm)
    run.signal(signal.SIGUSR1)
    assert run.wait(120) == 0, run.err.read_text()
    lines = asked.read_text().splitlines()
    assert lines[0] == "requeue 4711"
    assert lines[1].startswith("step-")  # the run had saved by then
    again = started(tmp_path, *COMMAND, environment=slurm)
    again.signal(signal.SIGTERM)
    assert again.wait(120) == 143
    steps = list(losses(only_run(tmp_path)))
    assert steps == list(range(1, len(steps) + 1))


def test_a_signal_while_pictures_are_drawn_does_not_wait_for_them(tmp_path: Path, small_run: SmallRun) -> None:
    shutil.copytree(small_run[0].parents[2] / ".cache", tmp_path / ".cache")
    slow = ["sampling.steps=10000", "trainer.sample_every_steps=6", "trainer.max_steps=12"]
    arguments = [argument for argument in SMALL if not argument.startswith(("sampling.steps", "trainer.sample_every"))]
    run = started(tmp_path, "aaa.train", *arguments, *slow, "logger=none", steps=6)
    run.signal(signal.SIGTERM)
    assert run.wait(60) == 143  # to draw them takes many minutes
    folder = only_run(tmp_path)
    assert not list(folder.glob("samples/*"))
    again = start(tmp_path, "aaa.train", f"resume={folder}", "sampling.steps=2")
    assert again.wait(300) == 0, again.err.read_text()
    assert {path.name for path in folder.glob("samples/*")} >= {"step-00000006.png", "step-00000012.png"}
    assert list(losses(folder)) == list(range(1, 13))


@pytest.mark.slow
def test_eight_processes_that_miss_the_same_cache(tmp_path: Path) -> None:
    command = ["aaa.encode", "data.resolution=16", "data.source.num_records=6000"]
    processes = [start(tmp_path, *command) for _ in range(8)]
    wait_until(lambda: list(tmp_path.glob(".cache/aaa/*.building/recipe")), *processes)
    wait_until(
        lambda: sum("Another process is building" in process.err.read_text() for process in processes) >= 6, *processes
    )
    (builder,) = [process for process in processes if "Encoding " in process.err.read_text()]
    builder.kill()
    others = [process for process in processes if process is not builder]
    assert [process.wait(120) for process in others] == [0] * 7
    texts = [process.err.read_text() for process in others]
    assert sum("Encoding " in text for text in texts) == 1  # another one took over
    assert sum("Another process is building the latent cache" in text for text in texts) >= 6
    assert len(list(tmp_path.glob(".cache/aaa/*/index.json"))) == 1


def test_runs_that_start_in_the_same_second_get_folders_of_their_own(tmp_path: Path, small_run: SmallRun) -> None:
    shutil.copytree(small_run[0].parents[2] / ".cache", tmp_path / ".cache")
    few = ["trainer.max_steps=1", "trainer.sample_every_steps=0", "logger=none"]
    arguments = [argument for argument in SMALL if not argument.startswith(("trainer.max_steps", "trainer.sample"))]
    runs = [start(tmp_path, "aaa.train", *arguments, *few) for _ in range(4)]
    assert [run.wait(120) for run in runs] == [0] * 4, [run.err.read_text() for run in runs]
    folders = list(tmp_path.glob("outputs/*/*"))
    assert len(folders) == 4
    assert all(list(losses(folder)) == [1] for folder in folders)


def test_a_second_signal_ends_a_run_at_once(tmp_path: Path, small_run: SmallRun) -> None:
    shutil.copytree(small_run[0].parents[2] / ".cache", tmp_path / ".cache")
    saving = [argument for argument in COMMAND if argument != "trainer.save_every_steps=0"]
    run = started(tmp_path, *saving, "trainer.save_every_steps=3", steps=9)
    folder = only_run(tmp_path)
    os.kill(run.process.pid or 0, signal.SIGTERM)
    os.kill(run.process.pid or 0, signal.SIGINT)
    assert run.wait(60) in (128 + signal.SIGINT, 128 + signal.SIGTERM)
    assert damage(checkpoints(folder)[0]) is None


def test_the_record_says_how_to_do_a_run_again(tmp_path: Path, small_run: SmallRun) -> None:
    shutil.copytree(small_run[0].parents[2] / ".cache", tmp_path / ".cache")
    shutil.copytree(small_run[0], tmp_path / "run", symlinks=True)
    done = subprocess.run(
        [sys.executable, "-m", "aaa.train", "repeat=run"],
        cwd=tmp_path,
        env=os.environ | {"WANDB_MODE": "offline"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    again = only_run(tmp_path)
    assert losses(again) == losses(tmp_path / "run")
    assert '"how": "repeat"' in (again / "environment.json").read_text()
    assert "numbers may differ" not in done.stderr


@pytest.mark.slow
def test_a_job_of_submitit_is_preempted_and_goes_on(tmp_path: Path, small_run: SmallRun) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    shutil.copytree(small_run[0].parents[2] / ".cache", tmp_path / ".cache")
    sweep = ["-m", "hydra/launcher=submitit_local", *COMMAND[1:], "model.depth=1"]

    def steps() -> list[int]:
        return [step for run in tmp_path.glob("outputs/*/*/0") for step in steps_so_far(run)]

    with subprocess.Popen(
        [sys.executable, "-m", "aaa.train", *sweep], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as sweeper:
        try:
            wait_until(lambda: len(steps()) >= 20)
            job = next(
                child
                for child in psutil.Process(sweeper.pid).children(recursive=True)
                if "submitit.core._submit" in child.cmdline()
            )
            job.send_signal(signal.SIGUSR2)
            job.wait(30)
            taken = len(steps())
            wait_until(lambda: len(steps()) >= taken + 20)
        finally:
            for child in psutil.Process(sweeper.pid).children(recursive=True):
                child.kill()
            sweeper.kill()
    assert steps() == list(range(1, len(steps()) + 1))
    (log,) = tmp_path.glob("outputs/*/*/0/train.log")
    assert f"Going on from step {taken}" in log.read_text()


def test_a_run_that_was_resumed_can_be_repeated_by_a_sweep(tmp_path: Path, small_run: SmallRun) -> None:
    shutil.copytree(small_run[0].parents[2] / ".cache", tmp_path / ".cache")
    shutil.copytree(small_run[0], tmp_path / "run", symlinks=True)
    resumed = start(tmp_path, "aaa.train", "resume=run", "trainer.max_steps=14", environment={"WANDB_MODE": "disabled"})
    assert resumed.wait(300) == 0, resumed.err.read_text()
    few = ["trainer.max_steps=3", "trainer.sample_every_steps=0", "evaluation.num_images=1"]
    sweep = start(tmp_path, "aaa.train", "-m", "repeat=run", "seed=0,1", *few, environment={"WANDB_MODE": "disabled"})
    assert sweep.wait(300) == 0, sweep.err.read_text()
    first, second = sorted(path.parent for path in tmp_path.glob("outputs/*/*/*/metrics.jsonl"))
    assert losses(first)[1] == losses(tmp_path / "run")[1]
    assert losses(second)[1] != losses(first)[1]
    assert list(losses(first)) == [1, 2, 3]
