"""One of two machines is lost, and the run goes on exactly, by the scripts of docs/cluster.md."""

import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from aaa.saved.checkpoint_folders import checkpoints
from tests.e2e.conftest import SMALL, launch_in, losses, steps_so_far
from tests.helpers.two_machines import Command, Machine, two_machines, why_not
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.slow

Machines = tuple[Machine, Machine]
DOCS = Path(__file__).parents[2] / "docs" / "cluster.md"
STEPS, SAVED_EVERY, LOST_AT = 120, 20, 30
OURS = ("trainer.max", "trainer.save", "trainer.sample", "trainer.validate", "evaluation.")
TRAIN = [
    *[argument for argument in SMALL if not argument.startswith(OURS)],
    f"trainer.max_steps={STEPS}",
    f"trainer.save_every_steps={SAVED_EVERY}",
    "trainer.validate_every_steps=40",
    "trainer.sample_every_steps=0",
    "evaluation=none",
    "logger=none",
]
ON_PATH = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "200"}


@pytest.fixture(autouse=True)
def machines() -> Iterator[Machines]:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    with two_machines() as both:
        yield both


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of two processes that nothing befell: how they reach each other does not matter."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    done = launch_in(folder, 2, "aaa.train", *TRAIN)
    assert done.code == 0, done.err
    return run_in(folder)


def run_in(folder: Path) -> Path:
    (metrics,) = folder.glob("outputs/**/metrics.jsonl")
    return metrics.parent


def steps_in(folder: Path) -> list[int]:
    found = list(folder.glob("outputs/**/metrics.jsonl"))
    return steps_so_far(found[0].parent) if found else []


def next_step(folder: Path) -> Callable[[], bool]:
    """Whether there has been a step since now."""
    metrics = run_in(folder) / "metrics.jsonl"
    written = metrics.stat().st_mtime_ns
    return lambda: metrics.stat().st_mtime_ns != written


def assert_same(run: Path, other: Path) -> None:
    assert losses(run) == losses(other)
    assert list(losses(run)) == list(range(1, STEPS + 1))
    one, two = checkpoints(run)[0], checkpoints(other)[0]
    assert one.name == two.name
    for name in ("model.safetensors", "ema.safetensors"):
        expected, found = load_file(two / name), load_file(one / name)
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[key], tensor) for key, tensor in found.items())


def script(folder: Path, containing: str) -> Path:
    """The script of the docs that does this, in a file."""
    (found,) = [
        text for text in re.findall(r"```bash\n(#!/bin/bash\n.*?)```", DOCS.read_text(), re.S) if containing in text
    ]
    path = folder / "script.sh"
    path.write_text(found)
    return path


def elastic(machine: Machine, head: Machine, folder: Path, attempts: int = 5) -> Command:
    names = {
        "HEAD": head.address,
        "ADDRESS": machine.address,
        "NODES": "2",
        "PROCESSES": "1",
        "ATTEMPTS": str(attempts),
    }
    command = ["bash", str(script(folder, "torchrun")), *TRAIN, "hydra.run.dir=outputs/big"]
    return machine.start(folder, *command, environment=ON_PATH | names)


@pytest.mark.parametrize("lost", ["first", "other"])
def test_an_elastic_launch_goes_on_when_a_machine_is_started_again(
    tmp_path: Path, machines: Machines, uninterrupted: Path, lost: str
) -> None:
    head = machines[0]
    dead, alive = machines if lost == "first" else machines[::-1]
    running = {machine.name: elastic(machine, head, tmp_path) for machine in machines}
    wait_until(lambda: len(steps_in(tmp_path)) >= LOST_AT, *running.values())
    dead.kill()
    began, step = time.monotonic(), max(steps_in(tmp_path))
    time.sleep(1)
    running[dead.name] = elastic(dead, head, tmp_path)
    goes_on = next_step(tmp_path)
    wait_until(goes_on, *running.values())
    print(f"{time.monotonic() - began:.1f} s from the loss of the {lost} machine after step {step} to the next step")
    assert [running[machine.name].wait() for machine in machines] == [0, 0]
    if lost == "other":  # the agent of the other machine ends as quickly as its process, which it may not let speak
        assert "Another process of this launch has ended" in running[alive.name].err.read_text()
    assert_same(run_in(tmp_path), uninterrupted)


def slurm(folder: Path, machines: Machines) -> dict[str, str]:
    """Commands of SLURM's that start a task on each machine, and its variables."""
    commands = folder / "bin"
    commands.mkdir()
    (commands / "scontrol").write_text(
        f'#!/bin/sh\n[ "$1" = show ] && echo {machines[0].address} && echo {machines[1].address} && exit\n'
        f"echo $@ >> {folder}/asked\n"
    )
    tasks = "\n".join(
        f'GLOO_SOCKET_IFNAME={machine.cable} SLURM_PROCID={rank} SLURM_LOCALID=0 ip netns exec {machine.name} "$@" &\n'
        f'pids="$pids $!"'
        for rank, machine in enumerate(machines)
    )
    (commands / "srun").write_text(
        f'#!/bin/bash\nwhile [[ "$1" == --* ]]; do shift; done\npids=\n{tasks}\n'
        "code=0; for pid in $pids; do wait $pid || code=$?; done; exit $code\n"
    )
    for command in commands.iterdir():
        command.chmod(0o755)
    numbers = {
        "JOB_ID": "4711",
        "JOB_NODELIST": "node[1-2]",
        "NTASKS": "2",
        "NTASKS_PER_NODE": "1",
        "CPUS_PER_TASK": "1",
    }
    return (
        ON_PATH | {"PATH": f"{commands}:{ON_PATH['PATH']}"} | {f"SLURM_{key}": value for key, value in numbers.items()}
    )


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGUSR1, 0), (signal.SIGTERM, 143), (signal.SIGKILL, 137)], ids=str
)
def test_a_slurm_job_goes_on_when_it_is_queued_again(
    tmp_path: Path, machines: Machines, uninterrupted: Path, number: signal.Signals, code: int
) -> None:
    environment = slurm(tmp_path, machines)
    batch = ["bash", str(script(tmp_path, "#SBATCH")), *TRAIN]
    # The batch script is on the first node; its `ip netns exec` starts each task where it belongs.
    job = machines[0].start(tmp_path, *batch, environment=environment)
    wait_until(lambda: len(steps_in(tmp_path)) >= LOST_AT, job)
    began = time.monotonic()
    for machine in machines[1:] if number == signal.SIGKILL else machines:
        machine.signal(number, "aaa.train")
    ended = job.wait()
    print(f"{time.monotonic() - began:.1f} s from {number.name} to the end of the job")
    assert ended == code or (number == signal.SIGKILL and ended in (1, code)), job.err.read_text()
    saved = checkpoints(run_in(tmp_path))[0].name
    last = max(steps_in(tmp_path))
    # A checkpoint of the very last step may have been cut off.
    may_be = {step // SAVED_EVERY * SAVED_EVERY for step in (last - 1, last)} if number == signal.SIGKILL else {last}
    assert saved in {f"step-{step:08d}" for step in may_be}
    asked = tmp_path / "asked"
    assert (asked.read_text() == "requeue 4711\n") if number == signal.SIGUSR1 else not asked.exists()
    again = machines[0].start(tmp_path, *batch, environment=environment | {"SLURM_RESTART_COUNT": "1"})
    assert again.wait() == 0, again.err.read_text()
    assert f"Going on from step {int(saved.removeprefix('step-'))}" in again.err.read_text()
    assert_same(run_in(tmp_path), uninterrupted)


def launch(folder: Path, disk: Path, machines: Machines, *more: str, other: Sequence[str] = ()) -> list[Command]:
    """Start both, the second on a disk of its own.

    Args:
        folder: where they start.
        disk: what the second sees there.
        machines: the first of them has the first process.
        more: arguments of both.
        other: arguments of the second alone.
    """
    disk.mkdir(exist_ok=True)
    shapes = "data.root=one" not in more
    train = TRAIN if shapes else [a for a in TRAIN if not a.startswith("data.source.")] + ["data=imagefolder"]
    commands = []
    for rank, machine in enumerate(machines):
        at = ["--nnodes=2", "--nproc-per-node=1", f"--master-addr={machines[0].address}", f"--node-rank={rank}"]
        run = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            *at,
            "-m",
            "aaa.train",
            *train,
            *more,
            *(other if rank else ()),
        ]
        own = disk if machine.name.endswith("b") else None
        commands.append(machine.start(folder, *run, disk=own, environment=ON_PATH))
    return commands


def test_machines_without_a_shared_disk_go_on_and_another_first_one_is_refused(
    tmp_path: Path, machines: Machines, uninterrupted: Path
) -> None:
    folder, disk = tmp_path / "work", tmp_path / "other"
    folder.mkdir()
    running = launch(folder, disk, machines, "resume=auto")
    wait_until(lambda: len(steps_in(folder)) >= LOST_AT, *running)
    machines[1].kill()
    assert running[0].wait() == 1
    saved = int(checkpoints(run_in(folder))[0].name.removeprefix("step-"))
    swapped = launch(folder, disk, machines[::-1], "resume=auto")
    assert [command.wait() for command in swapped] == [1, 1]
    for command in swapped:
        assert f"has a checkpoint of step {saved} there, and the first process" in error_of(command)
    again = launch(folder, disk, machines, "resume=auto")
    assert [command.wait() for command in again] == [0, 0], [command.err.read_text() for command in again]
    assert f"Going on from step {saved}" in again[0].err.read_text()
    assert_same(run_in(folder), uninterrupted)
    assert not list(disk.glob("outputs/**/checkpoints")), "the first alone writes"


def error_of(command: Command) -> str:
    """The one message of a process, without what torchrun says after it."""
    text = command.err.read_text()
    assert text.count("error: ") == 1, text
    return text[text.index("error: ") :]


@pytest.mark.parametrize(
    ("more", "other", "said"),
    [
        (["trainer.parallel=fsdp"], [], "does not see this folder of the first process"),
        ([], ["trainer.log_every_steps=3"], "trainer.log_every_steps: 1 in process 0"),
        (["data.root=one"], ["data.root=other"], "has other pictures, prompts or encoders"),
    ],
    ids=["folder", "config", "data"],
)
def test_what_machines_cannot_do_apart_is_refused_by_all_in_the_same_words(
    tmp_path: Path,
    machines: Machines,
    picture_folder: Callable[..., Path],
    more: list[str],
    other: list[str],
    said: str,
) -> None:
    folder, disk = tmp_path / "work", tmp_path / "other"
    shutil.copytree(pictures := picture_folder(40), folder / "one")
    shutil.copytree(pictures, disk / "other")
    with (disk / "other" / "metadata.csv").open("a") as table:
        table.write('000.png,"the first one again"\n')
    began = time.monotonic()
    running = launch(folder, disk, machines, *more, other=other)
    assert [command.wait() for command in running] == [1, 1]
    print(f"{time.monotonic() - began:.1f} s from the start to the refusal")
    assert all(said in error_of(command) for command in running), [command.err.read_text() for command in running]
    assert not steps_in(folder)


def test_runs_of_a_sweep_go_to_a_cluster_of_ray(tmp_path: Path, machines: Machines) -> None:
    pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    few = [argument for argument in TRAIN if not argument.startswith("trainer.max")] + ["trainer.max_steps=2"]
    command = ["bash", str(script(tmp_path, "ray start")), *few, "seed=0,1"]
    numbers = {"CPUS_PER_RUN": "1", "GPUS_PER_RUN": "0"}
    swept = machines[0].start(tmp_path, *command, environment=ON_PATH | numbers)
    assert swept.wait() == 0, swept.err.read_text()
    assert [list(losses(tmp_path / "outputs" / "ray" / number)) for number in "01"] == [[1, 2], [1, 2]]
    assert "Connecting to existing Ray cluster" in swept.err.read_text()
