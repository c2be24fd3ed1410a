"""Training as a user types it, and everything it leaves behind."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from tests.e2e.conftest import SMALL, Command, Finished, fork_in, losses, metrics, only_run, run_in
from tests.helpers.waiting import wait_until
from tests.helpers.wandb_file import read_offline_run

SmallRun = tuple[Path, Finished]


def test_a_run_folder_holds_everything(small_run: SmallRun) -> None:
    run, done = small_run
    for name in (
        ".hydra/config.yaml",
        "config.yaml",
        "environment.json",
        "metrics.jsonl",
        "train.log",
        "wandb",
        "checkpoints/step-00000006/model.safetensors",
        "checkpoints/step-00000012/ema.safetensors",
        "checkpoints/step-00000012/optimizer.pt",
        "checkpoints/step-00000012/state.json",
        "samples/step-00000006.png",
        "samples/step-00000012.png",
        "samples/step-00000012-raw.png",
        "model/config.json",
        "model/model.safetensors",
        "model/README.md",
        "model/samples.png",
    ):
        assert (run / name).exists(), name
    assert f"model={run.relative_to(run.parents[2])}" in done.err
    for command in ("python -m aaa.sample", "python -m aaa.train repeat=", "python -m aaa.compare"):
        assert command in done.err
    assert "Training 12/12" in done.err
    environment = json.loads((run / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert all(len(digest) == 64 for digest in environment["data"].values())
    assert Image.open(run / "samples" / "step-00000012.png").width > 300
    exported, ema = (
        load_file(run / "model/model.safetensors"),
        load_file(run / "checkpoints/step-00000012/ema.safetensors"),
    )
    assert all(torch.equal(exported[name], ema[name]) for name in ema)


def test_metrics_are_logged_by_step(small_run: SmallRun) -> None:
    rows = metrics(small_run[0])
    assert list(losses(small_run[0])) == list(range(1, 13))
    last = {key: value for row in rows for key, value in row.items()}
    for key in (
        "samples",
        "seconds",
        "train/loss",
        "train/lr",
        "train/grad_norm",
        "perf/images_per_second",
        "val/loss",
        "val/loss_relative",
        "val/loss_raw",
        "val/loss_sigma_0.0_0.2",
        "quality/seen",
        "quality/held_out",
    ):
        assert key in last, key
    assert last["samples"] == 96


def test_wandb_gets_config_losses_and_pictures(small_run: SmallRun) -> None:
    run, done = small_run
    found = read_offline_run(run)
    assert found.config["model"]["depth"] == 2
    assert found.config["optimizer"]["learning_rate"] == 5e-3
    assert "model.depth=2" in found.tags
    assert found.project == "aaa"
    record = json.loads((run / "environment.json").read_text())
    assert found.config["environment"]["git_commit"] == record["git"]["commit"]
    assert found.config["environment"]["data"] == record["data"]
    (sent,) = run.glob("wandb/offline-run-*/files/environment.json")
    assert json.loads(sent.read_text()) == record
    assert found.exit_code == 0
    ours = losses(run)
    theirs = {int(row["_step"]): row["train/loss"] for row in found.history if "train/loss" in row}
    assert theirs == ours
    pictures = [row for row in found.history if row.get("pictures._type") == "images/separated" or "pictures" in row]
    assert pictures
    assert len(list(run.glob("wandb/offline-run-*/files/media/images/pictures_12_*.png"))) == 4
    assert "a " in json.dumps(pictures[-1])  # captions: "a small red ..."
    assert "wandb sync" in done.err


def test_the_latent_cache_is_built_once(session_folder: Path, small_run: SmallRun) -> None:
    assert "Encoding 64 records" in small_run[1].err
    assert "Encoding" not in fork_in(session_folder, "aaa.encode", *SMALL).err
    caches = list(session_folder.glob(".cache/aaa/shapes-patches-16-*/index.json"))
    assert len(caches) == 1
    other = fork_in(session_folder, "aaa.encode", *SMALL, "encoder.downscale_factor=2")
    assert "Encoding" in other.err
    assert "latents 12x8x8" in other.err


def test_looking_at_a_run_does_not_change_it(command: Command, tmp_path: Path, small_run: SmallRun) -> None:
    blind = ["trainer.validate_every_steps=0", "trainer.sample_every_steps=0", "evaluation=none", "logger=none"]
    arguments = [argument for argument in SMALL if not argument.startswith("evaluation.")]
    done = command("aaa.train", *arguments, *blind, "trainer.save_every_steps=0")
    assert done.code == 0, done.err
    assert losses(only_run(tmp_path)) == losses(small_run[0])
    assert not (only_run(tmp_path) / "wandb").exists()
    assert "to judge them" not in done.err


def test_a_run_from_before_a_key_was_there_goes_on_with_its_default(tmp_path: Path, small_run: SmallRun) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run[0], run, symlinks=True)
    for name in ("config.yaml", ".hydra/config.yaml"):
        config = yaml.safe_load((run / name).read_text())
        for key in ("sweep", "budget"):
            del config[key]
        del config["trainer"]["evaluate_every_steps"]
        (run / name).write_text(yaml.safe_dump(config))
    done = fork_in(tmp_path, "aaa.train", "resume=run", "trainer.max_steps=14")
    assert done.code == 0, done.err
    assert metrics(run)[-1]["step"] == 14


def test_a_run_whose_metrics_were_lost_before_its_model_was_exported_has_one_all_the_same(
    tmp_path: Path, small_run: SmallRun
) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run[0], run, symlinks=True)
    shutil.copytree(small_run[0].parents[2] / ".cache", tmp_path / ".cache")
    shutil.rmtree(run / "model")
    (run / "metrics.jsonl").write_text('{"step": 6, "val/loss": 0.5}\n{"step": 12, "tr')
    done = fork_in(tmp_path, "aaa.train", "resume=run")
    assert done.code == 0, done.err
    assert "| training | 12 steps, 96 samples, " in (run / "model" / "README.md").read_text()


def test_resume_gives_the_same_losses_as_an_uninterrupted_run(tmp_path: Path, small_run: SmallRun) -> None:
    run = tmp_path / "outputs" / "x" / "y"
    shutil.copytree(small_run[0], run, symlinks=True)
    shutil.rmtree(run / "checkpoints" / "step-00000012")
    shutil.rmtree(run / "model")
    moved = json.loads((run / "environment.json").read_text()) | {"output_dir": "where it was before"}
    (run / "environment.json").write_text(json.dumps(moved))  # a copy would be a run of its own on W&B
    shutil.copytree(small_run[0].parents[2] / ".cache", tmp_path / ".cache")
    done = run_in(tmp_path, "aaa.train", "resume=outputs/x/y")
    assert done.code == 0, done.err
    assert "Going on from step 6" in done.err
    assert losses(run) == losses(small_run[0])
    steps = [row["step"] for row in metrics(run) if "train/loss" in row]
    assert steps == list(range(1, 13))
    for name in ("model", "ema"):
        resumed = load_file(run / f"checkpoints/step-00000012/{name}.safetensors")
        straight = load_file(small_run[0] / f"checkpoints/step-00000012/{name}.safetensors")
        assert all(torch.equal(resumed[key], straight[key]) for key in straight)
    assert read_offline_run(run).run_id == read_offline_run(small_run[0]).run_id

    finished = fork_in(tmp_path, "aaa.train", "resume=outputs/x/y").error
    assert "has already taken 12 of trainer.max_steps=12 steps. To go on: " in finished
    assert "trainer.max_steps=24" in finished
    extended = fork_in(tmp_path, "aaa.train", "resume=outputs/x/y", "trainer.max_steps=14")
    assert extended.code == 0, extended.err
    assert list(losses(run)) == list(range(1, 15))
    # Where a warning or an error says to go on from is still there.
    once_more = fork_in(tmp_path, "aaa.train", "resume=outputs/x/y", "trainer.max_steps=16")
    assert once_more.code == 0, once_more.err
    named = [re.search(r"repeat=(\S+/step-\d+)", said) for said in (finished, extended.err, once_more.err)]
    assert all(found is not None and (tmp_path / found[1]).is_dir() for found in named)


def test_bf16_weights_have_an_average_in_float32_that_is_judged_and_exported_in_bf16(
    tmp_path: Path, small_run: SmallRun
) -> None:
    shutil.copytree(small_run[0].parents[2] / ".cache", tmp_path / ".cache")
    done = fork_in(tmp_path, "aaa.train", *SMALL, "trainer.precision=bf16_weights", "logger=none", "name=whole")
    assert done.code == 0, done.err
    (whole,) = tmp_path.glob("outputs/whole/*")
    average = load_file(whole / "checkpoints/step-00000012/ema.safetensors")
    exported = load_file(whole / "model/model.safetensors")
    assert {tensor.dtype for tensor in average.values()} == {torch.float32}
    assert any(not torch.equal(tensor, tensor.bfloat16().float()) for tensor in average.values())
    assert all(torch.equal(exported[name], tensor.bfloat16()) for name, tensor in average.items())
    halfway = f"repeat={whole / 'checkpoints/step-00000006'}"
    done = fork_in(tmp_path, "aaa.train", halfway, "name=resumed")
    assert done.code == 0, done.err
    (resumed,) = tmp_path.glob("outputs/resumed/*")
    again = load_file(resumed / "checkpoints/step-00000012/ema.safetensors")
    assert all(torch.equal(again[name], tensor) for name, tensor in average.items())
    first, second = (
        [(row["val/loss"], row["val/loss_raw"]) for row in metrics(run) if "val/loss" in row]
        for run in (whole, resumed)
    )
    assert first == second
    assert all(averaged != raw for averaged, raw in first)


def test_sigterm_saves_and_exits_143(tmp_path: Path, small_run: SmallRun) -> None:
    shutil.copytree(small_run[0].parents[2] / ".cache", tmp_path / ".cache")
    long = [*SMALL, "trainer.max_steps=100000", "trainer.save_every_steps=100000", "trainer.validate_every_steps=0"]
    with subprocess.Popen(
        [sys.executable, "-m", "aaa.train", *long, "trainer.sample_every_steps=0", "logger=none"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_until(lambda: list(tmp_path.glob("outputs/*/*/metrics.jsonl")))
        run = only_run(tmp_path)
        assert "another run is training in this folder" in fork_in(tmp_path, "aaa.train", f"resume={run}").error
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    (checkpoint,) = (run / "checkpoints").iterdir()
    assert int(checkpoint.name.removeprefix("step-")) == max(losses(run))
    assert "To go on: python -m aaa.train resume=outputs/" in err


def test_a_sweep_gives_a_folder_and_a_wandb_run_for_each_job(tmp_path: Path, small_run: SmallRun) -> None:
    shutil.copytree(small_run[0].parents[2] / ".cache", tmp_path / ".cache")
    done = fork_in(
        tmp_path,
        "aaa.train",
        "-m",
        *SMALL,
        "optimizer.learning_rate=1e-4,1e-3",
        "model.depth=1,2",
        "trainer.max_steps=2",
        "evaluation.num_images=1",
        "trainer.sample_every_steps=0",
    )
    assert done.code == 0, done.err
    runs = sorted(path.parent for path in tmp_path.glob("outputs/*/*/*/metrics.jsonl"))
    assert [run.name for run in runs] == ["0", "1", "2", "3"]
    found = [read_offline_run(run) for run in runs]
    assert len({run.group for run in found}) == 1
    assert found[0].group == "/".join(runs[0].parts[-3:-1])
    assert len({run.run_id for run in found}) == 4
    assert {(run.config["optimizer"]["learning_rate"], run.config["model"]["depth"]) for run in found} == {
        (rate, depth) for rate in (1e-4, 1e-3) for depth in (1, 2)
    }
    table = fork_in(tmp_path, "aaa.compare", str(runs[0].parent), "--csv", "table.csv", "--json", "table.json")
    assert table.code == 0, table.err
    assert "optimizer.learning_rate" in table.out
    assert "4 runs" in table.out
    assert Image.open(tmp_path / "curves.png").width > 500
    assert Image.open(tmp_path / "map.png").width > 300
    assert "loss by noise level" in (tmp_path / "compare.html").read_text()
    assert len((tmp_path / "table.csv").read_text().splitlines()) == 5
    assert {row["model.depth"] for row in json.loads((tmp_path / "table.json").read_text())} == {1, 2}


@pytest.mark.slow
def test_a_failed_job_ends_as_failed_and_the_sweep_goes_on(tmp_path: Path, small_run: SmallRun) -> None:
    shutil.copytree(small_run[0].parents[2] / ".cache", tmp_path / ".cache")
    arguments = [argument for argument in SMALL if not argument.startswith("evaluation.")]
    few = ["trainer.max_steps=2", "evaluation=none", "trainer.sample_every_steps=0", "trainer.precision=float32,bf16"]
    done = fork_in(tmp_path, "aaa.train", "-m", *arguments, *few, "optimizer.learning_rate=1e30,1e-3")
    assert done.code == 1
    runs = sorted(path.parent for path in tmp_path.glob("outputs/*/*/*/config.yaml"))
    assert [read_offline_run(run).exit_code for run in runs] == [1, 0, 1, 0], done.err
    assert "The loss became" in done.err


def train_with_two_processes(folder: Path, *arguments: str) -> Finished:
    # Without MPI `accelerate launch --cpu` starts a single process, whatever number it is given.
    launch = ["torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    return run_in(folder, *launch, "-m", "aaa.train", *arguments, OMP_NUM_THREADS="1")


@pytest.mark.parametrize("accumulation", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_two_processes_share_a_run(tmp_path: Path, small_run: SmallRun, accumulation: int) -> None:
    shutil.copytree(small_run[0].parents[2] / ".cache", tmp_path / ".cache")
    few = ["trainer.max_steps=4", "trainer.save_every_steps=4"]
    done = train_with_two_processes(tmp_path, *SMALL, *few, f"trainer.gradient_accumulation_steps={accumulation}")
    assert done.code == 0, done.err
    run = only_run(tmp_path)
    assert list(losses(run)) == [1, 2, 3, 4]
    assert max(row.get("samples", 0) for row in metrics(run)) == 32
    rates = [row["train/lr"] for row in metrics(run) if "train/lr" in row]
    alone = [row["train/lr"] for row in metrics(small_run[0]) if "train/lr" in row]
    # The schedule is that of four steps, whoever takes them: the rise is the single process's.
    assert rates[0] == pytest.approx(alone[0])
    assert (run / "model" / "model.safetensors").is_file()
    assert done.err.count("Done in ") == 1
    settings = json.loads((run / "checkpoints/step-00000004/settings.json").read_text())
    assert settings["processes"] == 2


@pytest.mark.slow
def test_a_run_may_go_on_with_another_number_of_processes(tmp_path: Path, small_run: SmallRun) -> None:
    shutil.copytree(small_run[0].parents[2] / ".cache", tmp_path / ".cache")
    quick = [*SMALL, "trainer.max_steps=8", "trainer.save_every_steps=4", "logger=none", "checkpoint.keep_last=null"]
    two = train_with_two_processes(tmp_path, *quick)
    assert two.code == 0, two.err
    run = only_run(tmp_path)
    one = fork_in(tmp_path, "aaa.train", f"resume={run}", "trainer.max_steps=12")
    assert one.code == 0, one.err
    assert "Going on from step 8" in one.err
    assert list(losses(run)) == list(range(1, 13))
    again = train_with_two_processes(tmp_path, f"resume={run}", "trainer.max_steps=16")
    assert again.code == 0, again.err
    assert list(losses(run)) == list(range(1, 17))
    assert max(row.get("samples", 0) for row in metrics(run)) == 16 * 8


@pytest.mark.slow
def test_processes_may_divide_the_weights_and_the_run_goes_on_with_any_number(
    tmp_path: Path, small_run: SmallRun
) -> None:
    shutil.copytree(small_run[0].parents[2] / ".cache", tmp_path / ".cache")
    often = ["trainer.max_steps=6", "trainer.save_every_steps=3", "checkpoint.keep_last=null", "optimizer=adamw"]
    quick = [*SMALL, *often, "logger=none", "trainer.precision=float32", "checkpoint.in_background=true"]
    found = {}
    for parallel in ("ddp", "fsdp"):
        folder = tmp_path / parallel
        done = train_with_two_processes(tmp_path, *quick, f"trainer.parallel={parallel}", f"hydra.run.dir={folder}")
        assert done.code == 0, done.err
        found[parallel] = losses(folder)
        exported = load_file(folder / "model" / "model.safetensors")
        assert set(exported) == set(load_file(folder / "checkpoints/step-00000003/ema.safetensors"))
    assert found["fsdp"] == pytest.approx(found["ddp"], rel=1e-5)
    run = tmp_path / "fsdp"
    assert (run / "checkpoints/step-00000003/shards").is_dir()
    checkpoint = f"model={run / 'checkpoints/step-00000003'}"
    drawn = fork_in(tmp_path, "aaa.sample", checkpoint, "prompt=a small red ring", "steps=2", "num_images=1")
    assert drawn.code == 0, drawn.err
    one = fork_in(tmp_path, "aaa.train", f"resume={run}", "trainer.max_steps=9")
    assert one.code == 0, one.err
    assert "Going on from step 6" in one.err
    again = train_with_two_processes(tmp_path, f"resume={run}", "trainer.max_steps=12")  # from a whole checkpoint
    assert again.code == 0, again.err
    assert list(losses(run)) == list(range(1, 13))


@pytest.mark.slow
def test_the_tutorials_regime_keeps_everything_in_bf16_and_no_average(tmp_path: Path, small_run: SmallRun) -> None:
    shutil.copytree(small_run[0].parents[2] / ".cache", tmp_path / ".cache")
    arguments = [argument for argument in SMALL if not argument.startswith("trainer.batch_size")]
    regime = ["trainer=tutorial", "optimizer=adamw", "scheduler=flux2", "trainer.device=cpu", "model.init=torch"]
    done = fork_in(tmp_path, "aaa.train", *arguments, *regime, "logger=none")
    assert done.code == 0, done.err
    run = only_run(tmp_path)
    weights = load_file(run / "checkpoints/step-00000012/model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    assert not (run / "checkpoints/step-00000012/ema.safetensors").exists()
    assert max(row.get("samples", 0) for row in metrics(run)) == 12
    state = torch.load(run / "checkpoints/step-00000012/optimizer.pt", weights_only=True)
    assert {value["exp_avg"].dtype for value in state["state"].values()} == {torch.bfloat16}
    drawn = fork_in(tmp_path, "aaa.sample", f"model={run}", "prompt=a small red ring", "steps=2", "num_images=1")
    assert drawn.code == 0, drawn.err


def test_what_is_meant_for_a_gpu_is_warned_of_on_a_cpu(tmp_path: Path, small_run: SmallRun) -> None:
    assert "meant for a GPU" not in small_run[1].err
    small = [setting for setting in SMALL if not setting.startswith(("trainer.max_steps", "evaluation."))]
    few = ["trainer.max_steps=1", "lr_scheduler.warmup_steps=0", "evaluation=none", "logger=none"]
    done = fork_in(tmp_path, "aaa.train", "trainer=gpu", "trainer.device=cpu", *small, *few)
    assert done.code == 0, done.err
    assert "trainer=gpu is meant for a GPU, and this run is on a CPU" in done.err


def test_a_run_can_start_from_the_weights_of_another(tmp_path: Path, small_run: SmallRun) -> None:
    shutil.copytree(small_run[0].parents[2] / ".cache", tmp_path / ".cache")
    weights = small_run[0] / "model" / "model.safetensors"
    arguments = [*SMALL, "trainer.max_steps=1", "trainer.sample_every_steps=0", "logger=none"]
    refused = fork_in(tmp_path, "aaa.train", *arguments, f"init_from={weights}", "model.depth=3").error
    assert "holds a model of another size. To train that one: model.depth=2" in refused
    assert not (tmp_path / "outputs").exists(), "a refused start leaves nothing behind"
    done = fork_in(tmp_path, "aaa.train", *arguments, f"init_from={small_run[0]}")
    assert done.code == 0, done.err
    assert f"Starting from the weights in {weights}" in done.err
    assert losses(only_run(tmp_path))[1] != losses(small_run[0])[1]
    deeper = ["model.depth=3", f"init_from={small_run[0]}", "init_from_parts=fitting", "hydra.run.dir=deeper"]
    done = fork_in(tmp_path, "aaa.train", *arguments, *deeper)
    assert "; new, as the model itself starts: blocks.2 (" in done.err
    done = fork_in(tmp_path, "aaa.train", "resume=deeper", "trainer.max_steps=2")
    assert "Going on from step 1" in done.err, done.err
    assert "Starting from the weights" not in done.err
    repeated = fork_in(tmp_path, "aaa.train", "repeat=deeper", "hydra.run.dir=again", "trainer.max_steps=1")
    assert "; new, as the model itself starts: blocks.2 (" in repeated.err
    assert losses(tmp_path / "again")[1] == losses(tmp_path / "deeper")[1]
