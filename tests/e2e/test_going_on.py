"""A folder belongs to one run, and a run that goes on with something else says so."""

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from aaa.saved.checkpoint_folders import write_manifest
from tests.e2e.conftest import SMALL, Finished, fork_in, losses, metrics

LOOKS = ("trainer.max_steps", "trainer.sample_every_steps", "trainer.validate_every", "trainer.save", "evaluation.")
QUICK = [
    *(argument for argument in SMALL if not argument.startswith(LOOKS)),
    *("trainer.sample_every_steps=0", "trainer.validate_every_steps=5", "trainer.save_every_steps=10"),
    *("evaluation=none", "logger=none", "lr_scheduler.warmup_steps=2", "trainer.precision=float32"),
]
TEN, TWENTY = (["aaa.train", *QUICK, f"trainer.max_steps={steps}"] for steps in (10, 20))

Train = Callable[..., Finished]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a run of ten steps is finished, `ten`, and one of twenty, `twenty`."""
    folder = tmp_path_factory.mktemp("finished")
    for name, command in (("ten", TEN), ("twenty", TWENTY)):
        done = fork_in(folder, *command, f"hydra.run.dir={name}")
        assert done.code == 0, done.err
    return folder


@pytest.fixture
def here(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to change."""
    return shutil.copytree(finished, tmp_path / "here")


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (".lock", "train.log")
    }


def rows(run: Path) -> list[dict[str, float]]:
    """What a run has measured, but for clocks."""
    return [{k: v for k, v in row.items() if not k.startswith(("perf/", "seconds"))} for row in metrics(run)]


def test_a_second_run_in_a_folder_is_refused_before_anything_is_overwritten(here: Path) -> None:
    before = contents(here / "ten")
    for command in (
        [*TWENTY, "seed=7", "hydra.run.dir=ten"],
        [*TEN, "hydra.run.dir=ten"],  # the very same command
        [*TWENTY, "hydra.run.dir=ten", "hydra.output_subdir=null"],
        ["aaa.train", "repeat=twenty", "hydra.run.dir=ten"],
        ["aaa.train", "-m", *TWENTY[1:], "hydra.sweep.dir=.", "hydra.sweep.subdir=ten", "seed=1"],
        ["aaa.train", "-m", *TWENTY[1:], "hydra.sweep.dir=ten", "seed=1,2"],
        ["aaa.train", "-m", "repeat=twenty", "hydra.sweep.dir=ten", "seed=1,2"],
    ):
        error = fork_in(here, *command).error
        assert error.startswith("error: ten: this folder holds a run"), error
        assert "python -m aaa.train resume=ten\n" in error
        assert contents(here / "ten") == before, command


def test_the_same_command_goes_on_with_its_own_folder(here: Path) -> None:
    again = fork_in(here, *TEN, "hydra.run.dir=ten", "resume=auto")
    assert again.code == 0, again.err
    assert "is finished: there is nothing left to do" in again.err
    config = here / "ten" / ".hydra" / "config.yaml"  # which its data are gone of, or changed, meanwhile
    config.write_text(config.read_text().replace("num_records: 48", "num_records: 47"))
    cache = list((here / ".cache").rglob("*"))
    assert "is finished: there is nothing left to do" in fork_in(here, *TEN, "hydra.run.dir=ten", "resume=auto").err
    assert list((here / ".cache").rglob("*")) == cache, "nothing is encoded for it"
    changed = fork_in(here, "aaa.train", "resume=ten", "trainer.max_steps=30").error
    assert "trained on other latents" in changed
    assert "which may start from these weights: python -m aaa.train init_from=ten ..." in changed
    other = fork_in(here, *TWENTY, "hydra.run.dir=ten", "resume=auto").error
    assert "that folder holds a run of another command" in other


def test_a_sweep_has_a_folder_of_its_own(here: Path) -> None:
    sweep = ["aaa.train", "-m", *QUICK, "trainer.max_steps=1", "hydra.sweep.dir=swept"]
    first = fork_in(here, *sweep, "seed=1,2")
    assert first.code == 0, first.err
    before = contents(here / "swept")
    other = fork_in(here, *sweep, "seed=3,4").error
    assert "swept: this folder holds another sweep (" in other
    same = fork_in(here, *sweep, "seed=1,2").error
    assert "the same command with sweep.resume=true" in same
    alone = fork_in(here, *TEN, "hydra.run.dir=swept").error
    assert "this folder holds a sweep" in alone
    assert contents(here / "swept") == before
    on = fork_in(here, *sweep, "seed=1,2", "sweep.resume=true")
    assert on.code == 0, on.err
    assert on.err.count("is finished: skipped") == 2
    one_place = fork_in(here, *sweep[:-1], "hydra.sweep.dir=new", "hydra.sweep.subdir=all", "seed=1,2").error
    assert "hydra.sweep.subdir=all: gives seed=1 and seed=2 the same folder" in one_place


def test_a_job_whose_folder_is_anothers_is_refused_and_the_others_have_their_turn(here: Path) -> None:
    (here / "swept").mkdir()
    (here / "ten").rename(here / "swept" / "job-0")
    before, log = contents(here / "swept" / "job-0"), (here / "swept" / "job-0" / "train.log").read_text()
    sweep = ["aaa.train", "-m", *QUICK, "trainer.max_steps=1", "hydra.sweep.dir=swept", "seed=1,2"]
    done = fork_in(here, *sweep, "hydra.sweep.subdir=job-${hydra.job.num}", "resume=auto")
    assert done.error.startswith("error: swept/job-0: this folder holds a run already")
    assert contents(here / "swept" / "job-0") == before
    assert (here / "swept" / "job-0" / "train.log").read_text() == log
    assert "Sweep: 1 of 2 runs are finished in swept" in done.out
    assert metrics(here / "swept" / "job-1")[-1]["step"] == 1


def test_what_a_signal_left_at_the_last_step_is_looked_at_once(here: Path) -> None:
    """Also by a run that is killed before it can save that, and where its checkpoint was being replaced."""
    run = here / "ten"
    checkpoint = run / "checkpoints" / "step-00000010"
    state = json.loads((checkpoint / "state.json").read_text())
    state["metrics"] = {name: value for name, value in state["metrics"].items() if not name.startswith("val/")}
    (checkpoint / "state.json").write_text(json.dumps(state | {"unlooked": ["validate"]}))
    write_manifest(checkpoint)
    checkpoint.rename(checkpoint.with_name(".removed-step-00000010"))
    checkpoint.with_name(".step-00000010").mkdir()  # what was to take its place
    shutil.rmtree(run / "model")
    before = rows(run)
    again = fork_in(here, *TEN, "hydra.run.dir=ten", "resume=auto")
    assert again.code == 0, again.err
    assert "Going on from step 10" in again.err
    assert rows(run) == before, "of what is measured again there is one row"
    state = json.loads((checkpoint / "state.json").read_text())
    assert (state["unlooked"], "train/lr" in state["metrics"], "val/loss" in state["metrics"]) == ([], True, True)
    assert (run / "model" / "config.json").is_file()
    assert "is finished: there is nothing left" in fork_in(here, *TEN, "hydra.run.dir=ten", "resume=auto").err


def test_trained_for_longer_from_before_the_decay_a_run_is_the_longer_run(here: Path) -> None:
    assert (here / "ten" / "checkpoints" / "step-00000005").is_dir(), "kept though it was not due"
    longer = fork_in(here, "aaa.train", "repeat=ten/checkpoints/step-00000005", "trainer.max_steps=20")
    assert longer.code == 0, longer.err
    assert "learning rate" not in longer.err
    assert "other settings" not in longer.err
    (run,) = here.glob("outputs/*/*")
    assert rows(run) == rows(here / "twenty")
    for name in ("model", "ema"):
        ours, theirs = (
            load_file(folder / f"checkpoints/step-00000020/{name}.safetensors") for folder in (run, here / "twenty")
        )
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert sorted(path.name for path in (run / "validation").iterdir()) == [
        f"step-{step:08d}.json" for step in (5, 10, 15, 20)
    ]
    told = fork_in(here, "aaa.train", "resume=ten/checkpoints/step-00000005").error
    assert "To go on from this one in a new folder: repeat=ten/checkpoints/step-00000005" in told


def test_trained_for_longer_after_the_decay_a_run_says_so(here: Path) -> None:
    done = fork_in(here, "aaa.train", "resume=ten", "trainer.max_steps=12", "trainer.save_every_steps=11")
    assert done.code == 0, done.err
    (warning,) = (line for line in done.err.splitlines() if "learning rate" in line)
    assert warning.startswith("warning: The learning rate is not that of a run of 12 steps")
    assert "python -m aaa.train repeat=ten/checkpoints/step-00000005 trainer.max_steps=12" in warning
    advice = "longer:  python -m aaa.train repeat=ten/checkpoints/step-00000005 trainer.max_steps=24"
    assert advice in done.err
    (here / "ten" / "checkpoints" / "step-00000012" / "manifest.json").unlink()  # its end is lost
    again = fork_in(here, "aaa.train", "resume=ten")
    assert "learning rate" not in again.err
    assert advice in again.err


def test_with_another_batch_size_everything_goes_on_from_what_was_trained(here: Path) -> None:
    environment = {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"}
    changed = ["trainer.batch_size=4", "optimizer.learning_rate=1e-4", "trainer.max_steps=24"]
    done = fork_in(here, "aaa.train", "resume=twenty", *changed, **environment)
    assert done.code == 0, done.err
    samples = [row["samples"] for row in metrics(here / "twenty") if "samples" in row]
    assert samples == [8 * step for step in range(1, 21)] + [164, 168, 172, 176]
    flops = [row["flops"] for row in metrics(here / "twenty") if "flops" in row]
    assert flops == [count * flops[0] // 8 for count in samples]
    (line,) = (line for line in done.err.splitlines() if "other settings" in line)
    assert "From step 21 on the run has other settings" in line
    assert "optimizer.learning_rate 0.005 -> 0.0001" in line
    assert "trainer.batch_size 8 -> 4" in line
    assert "ACCELERATE_GRADIENT_ACCUMULATION_STEPS=4 has no effect" in done.err
    record = yaml.safe_load((here / "twenty" / "environment.json").read_text())
    assert record["changed"]["trainer.batch_size"] == [8, 4]
    again = fork_in(here, "aaa.train", "resume=twenty", "trainer.max_steps=25")
    assert again.code == 0, again.err
    assert "other settings" not in again.err
    assert [row["samples"] for row in metrics(here / "twenty") if "samples" in row][-1] == 180
    assert len(losses(here / "twenty")) == 25
    heads = fork_in(here, "aaa.train", "resume=twenty", "model.heads=4", "trainer.max_steps=30").error
    assert "model.heads=4: the 25 steps so far were trained with model.heads=2" in heads


def test_judged_and_drawn_otherwise_a_run_that_goes_on_learns_the_same(here: Path) -> None:
    run, before = here / "twenty", here / "ten" / "before"
    (run / "checkpoints" / "step-00000020").rename(before)
    shutil.rmtree(run / "model")
    swapped = ["evaluation=shapes", "evaluation.num_images=4", "sampler=heun", "guidance=prompt", "guidance.scale=3"]
    looks = ["trainer.evaluate_every_steps=4", "trainer.sample_every_steps=3", "sampling.steps=2"]
    done = fork_in(here, "aaa.train", "resume=twenty", *swapped, *looks)
    assert done.code == 0, done.err
    assert "evaluation=shapes: takes the place of what the run had" in done.err
    assert "other settings" not in done.err
    assert [row["step"] for row in rows(run) if "quality/held_out" in row] == [12, 16, 20]
    for recorded in ("config.yaml", ".hydra/config.yaml"):
        config = yaml.safe_load((run / recorded).read_text())
        assert config["evaluation"]["num_images"] == 4
        assert (config["sampler"], config["guidance"]["scale"]) == ({"_target_": "aaa.diffusion.heun.Heun"}, 3)
    for name in ("model", "ema"):
        ours, theirs = (
            load_file(folder / f"{name}.safetensors") for folder in (run / "checkpoints/step-00000020", before)
        )
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_a_finished_run_that_keeps_no_checkpoint_is_left_as_it_is(here: Path) -> None:
    shutil.rmtree(here / "ten" / "checkpoints")
    before = {path: path.read_bytes() for path in (here / "ten" / "metrics.jsonl", *(here / "ten" / "model").iterdir())}
    again = fork_in(here, *TEN, "hydra.run.dir=ten", "resume=auto")
    assert again.code == 0, again.err
    assert "ten is finished: there is nothing left to do." in again.err
    longer = fork_in(here, "aaa.train", "resume=ten", "trainer.max_steps=20")
    assert "ten has exported its model after 10 steps and keeps no checkpoint to go on from" in longer.error
    assert {path: path.read_bytes() for path in before} == before


def test_a_branch_that_keeps_no_checkpoint_is_left_as_it_is_too(here: Path) -> None:
    """The checkpoint that it began with is another run's."""
    branch = ["repeat=ten/checkpoints/step-00000005", "trainer.max_steps=10", "trainer.save_every_steps=0"]
    assert fork_in(here, "aaa.train", *branch, "hydra.run.dir=branch").code == 0
    model = (here / "branch" / "model" / "model.safetensors").read_bytes()
    again = fork_in(here, "aaa.train", "resume=branch", "trainer.max_steps=20")
    assert "branch has exported its model after 10 steps and keeps no checkpoint to go on from" in again.error
    assert (here / "branch" / "model" / "model.safetensors").read_bytes() == model


def test_a_run_of_a_budget_is_made_longer_as_it_says(here: Path) -> None:
    done = fork_in(here, *TEN, "budget.flops=1e9", "hydra.run.dir=spent")
    assert done.code == 0, done.err
    assert "trainer.max_steps is not read: budget.flops says how many steps the run has" in done.err
    taken = rows(here / "spent")[-1]["step"]
    (line,) = (line for line in done.err.splitlines() if line.startswith("  longer:"))
    assert f"budget.flops=null trainer.max_steps={2 * taken}" in line
    longer = fork_in(here, "aaa.train", *shlex.split(line.partition("aaa.train ")[2]))
    assert longer.code == 0, longer.err
    (run,) = here.glob("outputs/*/*")
    assert rows(run)[-1]["step"] == 2 * taken
