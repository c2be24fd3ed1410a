"""Commands on a GPU as a user types them. On a CPU, where other tests do the same at length, they are slow ones."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.e2e.conftest import SMALL, Command, losses, metrics, only_run
from tests.gpu.conftest import GPU

PLACES = pytest.mark.parametrize("place", [pytest.param("cpu", marks=pytest.mark.slow), GPU])
QUIET = [*(told for told in SMALL if not told.startswith("evaluation.")), "logger=none", "evaluation=none"]


@PLACES
def test_a_run_resumes_with_the_losses_that_it_would_have_had(command: Command, tmp_path: Path, place: str) -> None:
    """To the bit with trainer.deterministic=true; the checkpoint in the middle is written beside training."""
    told = [*QUIET, f"trainer.device={place}", "trainer.deterministic=true", "checkpoint.in_background=true"]
    whole = command("aaa.train", *told, "name=whole")
    assert whole.code == 0, whole.err
    run = next((tmp_path / "outputs" / "whole").iterdir())
    again = command("aaa.train", f"repeat={run / 'checkpoints' / 'step-00000006'}")
    assert again.code == 0, again.err
    other = next(path for path in (tmp_path / "outputs").glob("*/*") if path != run)
    gone_on = losses(other)
    assert {step: loss for step, loss in losses(run).items() if step in gone_on} == gone_on
    assert max(gone_on) == 12


@PLACES
def test_a_run_learns_draws_and_is_judged(command: Command, tmp_path: Path, place: str) -> None:
    """Evaluation, samples and the page of a run; the same seed gives the same picture, and nearly that of a CPU."""
    done = command("aaa.train", *SMALL, "logger=none", f"trainer.device={place}", "trainer.precision=float32")
    assert done.code == 0, done.err
    run = only_run(tmp_path)
    rows = metrics(run)
    assert any("val/loss" in row for row in rows)
    assert (run / "samples" / "step-00000012.png").is_file()
    if place == "cuda":
        assert all(0 < row["perf/mfu"] < 1 for row in rows if "perf/mfu" in row)
        assert json.loads((run / "environment.json").read_text())["device"] == torch.cuda.get_device_name()
    pictures = []
    for name, device in (("one", place), ("other", place), ("cpu", "cpu")):
        told = [f"model={run}", "prompt=a red circle", "steps=4", "seed=3", f"out={name}", f"device={device}"]
        drawn = command("aaa.sample", *told)
        assert drawn.code == 0, drawn.err
        pictures.append(np.asarray(Image.open(tmp_path / name / "seed-3.png").convert("RGB"), dtype=float))
    assert np.array_equal(pictures[0], pictures[1])
    assert np.abs(pictures[0] - pictures[2]).mean() < 2  # of 255
    judged = command("aaa.evaluate", f"model={run}", f"device={place}", "evaluation.num_images=8")
    assert judged.code == 0, judged.err


@PLACES
def test_small_models_are_recorded_where_there_is_a_gpu(command: Command, tmp_path: Path, place: str) -> None:
    """And never where there is none: the same command does for both."""
    for told, recorded in (
        ([], place == "cuda"),
        (["trainer.cuda_graph=false"], False),
        (["trainer.on_nonfinite=skip"], False),
    ):
        done = command("aaa.train", *QUIET, f"trainer.device={place}", f"name=run{len(told)}", *told)
        assert done.code == 0, done.err
        assert ("Steps are recorded as a CUDA graph" in done.err) == recorded
        assert "recording one failed" not in done.err


@PLACES
def test_auto_takes_a_batch_that_trains(command: Command, tmp_path: Path, place: str) -> None:
    told = [*QUIET, f"trainer.device={place}", "trainer.max_steps=2", "trainer.log_every_steps=1"]
    done = command("aaa.train", *told, "trainer.batch_size=auto", "trainer.base_batch_size=null")
    assert done.code == 0, done.err
    assert "trainer.batch_size=auto: " in done.err
    assert len(losses(only_run(tmp_path))) == 2


@pytest.mark.gpu
@pytest.mark.parametrize("how", ["true", "static", "reduce-overhead"])
def test_a_compiled_run_validates_draws_and_resumes(command: Command, tmp_path: Path, how: str) -> None:
    """Losses within 1% of an uncompiled run's; looks at the weights have other shapes, and must not disturb it."""
    told = [*QUIET, "trainer.precision=float32", "trainer.cuda_graph=false"]
    for name, compiled in (("plain", "false"), ("compiled", how)):
        done = command("aaa.train", *told, f"name={name}", f"trainer.compile={compiled}")
        assert done.code == 0, done.err
        assert "does not work" not in done.err
    plain, compiled_losses = (losses(next((tmp_path / "outputs" / name).iterdir())) for name in ("plain", "compiled"))
    assert compiled_losses == pytest.approx(plain, rel=1e-2)
    run = next((tmp_path / "outputs" / "compiled").iterdir())
    resumed = command("aaa.train", f"resume={run}", "trainer.max_steps=14")
    assert resumed.code == 0, resumed.err


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", ["false", "static"])
def test_a_run_of_recorded_steps_learns_as_much_and_resumes_to_the_bit(
    command: Command, tmp_path: Path, compiled: str
) -> None:
    """Losses within 1% of those of steps taken as they are; what is graph and what is not differs after resuming."""
    told = [*QUIET, "trainer.precision=float32", "trainer.deterministic=true", "trainer.log_every_steps=4"]
    plain = command("aaa.train", *told, "name=plain", "trainer.cuda_graph=false")
    assert plain.code == 0, plain.err
    recorded = command("aaa.train", *told, "name=recorded", "trainer.cuda_graph=true", f"trainer.compile={compiled}")
    assert recorded.code == 0, recorded.err
    runs = {name: next((tmp_path / "outputs" / name).iterdir()) for name in ("plain", "recorded")}
    assert losses(runs["recorded"]) == pytest.approx(losses(runs["plain"]), rel=1e-2)
    again = command("aaa.train", f"repeat={runs['recorded'] / 'checkpoints' / 'step-00000006'}")
    assert again.code == 0, again.err
    other = next(path for path in (tmp_path / "outputs").glob("*/*") if path not in runs.values())
    gone_on = losses(other)
    assert {step: loss for step, loss in losses(runs["recorded"]).items() if step in gone_on} == gone_on
    assert max(gone_on) == 12


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="NCCL takes a GPU for each process, and there are not two")
def test_two_processes_take_the_steps_of_one(command: Command, tmp_path: Path) -> None:
    """As many steps of as many samples; losses within 20%, as each process draws noise from a generator of its own."""
    told = [*QUIET, "trainer.precision=float32", "trainer.prompt_dropout=0", "trainer.cuda_graph=false"]
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "-m", "aaa.train"]
    two = subprocess.run([*launch, *told, "name=two"], cwd=tmp_path, capture_output=True, text=True, timeout=400)
    assert two.returncode == 0, two.stderr
    one = command("aaa.train", *told, "name=one")
    assert one.code == 0, one.err
    found = [losses(next((tmp_path / "outputs" / name).iterdir())) for name in ("one", "two")]
    assert list(found[0]) == list(found[1])
    assert found[1][12] == pytest.approx(found[0][12], rel=0.2)


@pytest.mark.gpu
def test_the_card_of_a_gpu_is_measured_in_time(command: Command, tmp_path: Path) -> None:
    """A minute's worth of it: no row failed, the GPU's share of rest is a share, and its peak is no CPU's."""
    told = ["bench.seconds=90", "bench.parts=[device,plain,attention,latents]"]
    done = command("aaa.bench", "bench=gpu", *told, "bench.models=[dit_tiny,dit_10m,dit_0.1b]", "bench.row_seconds=0.5")
    assert done.code == 0, done.err
    (found,) = tmp_path.glob("outputs/bench/*/results.json")
    rows = json.loads(found.read_text())["rows"]
    assert not [row for row in rows if str(row.get("note")).startswith("failed")]
    assert all(0 <= row["idle"] <= 1 for row in rows if "idle" in row)
    assert rows[0]["TFLOP/s"] > 5
