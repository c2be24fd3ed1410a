"""Averages that a run did not keep, made afterwards as a user types it."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from aaa.saved.checkpoint_folders import write_manifest
from aaa.training.ema import share_of_run
from tests.e2e.conftest import SMALL, Command, Finished, fork_in

FORKED = True

# Of each step the weights are kept, so that any average can be made without an error.
ALL_KEPT = [
    *SMALL,
    "logger=none",
    "trainer.sample_every_steps=0",
    "trainer.validate_every_steps=0",
    "trainer.save_every_steps=1",
    "checkpoint.keep_last=null",
    "trainer.ema_decay=null",
    "trainer.ema_memory=0.3",
    "hydra.run.dir=run",
]


@pytest.fixture(scope="module")
def all_kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("all_kept")
    done = fork_in(folder, "aaa.train", *ALL_KEPT)
    assert done.code == 0, done.err
    return folder / "run"


def test_any_memory_is_made_of_what_a_run_has_kept(command: Command, tmp_path: Path, all_kept: Path) -> None:
    shutil.copytree(all_kept, tmp_path / "run")
    done = command("aaa.average", "model=run", "memory=[0.1,0.3]")
    assert done.code == 0, done.err
    assert "0.0%" in done.out
    assert "run/averages/memory-0.1" in done.out
    raw = [load_file(path / "model.safetensors") for path in sorted((all_kept / "checkpoints").iterdir())]
    assert len(raw) == 12
    expected = dict(raw[0])
    keep = share_of_run(0.1)
    for update, weights in enumerate(raw[1:], start=1):
        expected = {name: keep(update) * old + (1 - keep(update)) * weights[name] for name, old in expected.items()}
    made = load_file(tmp_path / "run/averages/memory-0.1/model.safetensors")
    torch.testing.assert_close(made, expected, atol=1e-6, rtol=1e-5)
    trained = load_file(all_kept / "model" / "model.safetensors")
    torch.testing.assert_close(load_file(tmp_path / "run/averages/memory-0.3/model.safetensors"), trained)
    assert any(not torch.equal(made[name], trained[name]) for name in trained)


def test_what_is_made_is_drawn_and_judged_like_a_model(command: Command, tmp_path: Path, all_kept: Path) -> None:
    shutil.copytree(all_kept, tmp_path / "run")
    assert command("aaa.average", "model=run/checkpoints/step-00000009", "memory=0.2").code == 0
    model = "model=run/averages/memory-0.2-step-00000009"
    drawn = command("aaa.sample", model, "prompt=a red circle", "num_images=1", "out=drawn")
    assert drawn.code == 0, drawn.err
    judged = command("aaa.evaluate", model, "evaluation=none")
    assert judged.code == 0, judged.err
    (record_file,) = (tmp_path / "run" / "evaluation").glob("memory-0.2-step-00000009-model*.json")
    record = json.loads(record_file.read_text())
    assert record["metrics"]["val/loss"] > 0


def test_what_cannot_be_averaged_is_said(command: Command, tmp_path: Path, all_kept: Path) -> None:
    shutil.copytree(all_kept, tmp_path / "run")
    checkpoints = tmp_path / "run" / "checkpoints"

    def said(*arguments: str) -> str:
        return command("aaa.average", *arguments).error

    assert "memory=0.7: must be a share of the run, above 0 and at most 0.5, or at least 8 samples" in said(
        "model=run", "memory=0.7"
    )
    assert "memory=wide: must be a number, or several as [0.05,0.1,0.2]." in said("model=run", "memory=wide")
    assert "model=run/model: neither a run folder" in said("model=run/model", "memory=0.1")
    assert "model=nowhere: there is no such folder" in said("model=nowhere", "memory=0.1")
    weights = checkpoints / "step-00000012" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    done = command("aaa.average", "model=run", "memory=0.3")
    assert "step-00000012 is damaged" in done.err
    assert (tmp_path / "run" / "averages" / "memory-0.3-step-00000011").is_dir()
    assert "memory=inf: must be a share" in said("model=run", "memory=inf")


def test_averages_that_changed_on_the_way_are_not_taken_for_one(
    command: Command, tmp_path: Path, all_kept: Path
) -> None:
    shutil.copytree(all_kept, tmp_path / "run")
    branch = ["repeat=run/checkpoints/step-00000006", "trainer.ema_memory=0.5", "hydra.run.dir=branch"]
    assert command("aaa.train", *branch).code == 0
    raw = [load_file(path / "model.safetensors") for path in sorted((tmp_path / "branch/checkpoints").iterdir())]
    done = command("aaa.average", "model=branch", "memory=0.1")
    assert done.code == 0, done.err
    assert "trainer.ema_memory was changed on the way of branch" in done.err
    made = load_file(tmp_path / "branch/averages/memory-0.1/model.safetensors")
    counts = torch.tensor([(update / 12) ** 8 for update in range(1, 13)])  # of each step in such an average
    lacking = float(counts[:6].sum() / counts.sum())  # those of before the branch, whose weights lie elsewhere
    for name, tensor in made.items():
        weighed = sum(count * weights[name] for count, weights in zip(counts[6:] / counts[6:].sum(), raw, strict=True))
        assert isinstance(weighed, torch.Tensor)
        spread = max(float((weights[name] - raw[-1][name]).abs().max()) for weights in raw)
        assert float((tensor - weighed).abs().max()) <= 10 * lacking * spread + 1e-6


def test_what_is_no_average_stays_as_it_is_at_the_end(command: Command, tmp_path: Path, all_kept: Path) -> None:
    shutil.copytree(all_kept, tmp_path / "run")
    name = next(iter(load_file(all_kept / "model" / "model.safetensors")))
    for number, checkpoint in enumerate(sorted((tmp_path / "run" / "checkpoints").iterdir())):
        for file in ("model.safetensors", "ema.safetensors"):  # as the average has the model's buffers
            with safe_open(checkpoint / file, "pt") as opened:
                metadata = opened.metadata()
            tensors = load_file(checkpoint / file)
            save_file(tensors | {name: torch.full_like(tensors[name], number)}, checkpoint / file, metadata)
        (checkpoint / "manifest.json").unlink()
        write_manifest(checkpoint)
    assert command("aaa.average", "model=run", "memory=0.1").code == 0
    made = load_file(tmp_path / "run/averages/memory-0.1/model.safetensors")
    assert torch.equal(made[name], torch.full_like(made[name], 11))


def test_too_few_checkpoints_are_said(command: Command, small_run: tuple[Path, Finished]) -> None:
    run = small_run[0]
    error = command("aaa.average", f"model={run}", "memory=0.5").error
    assert "memory=0.5: cannot be told from the 2 checkpoints" in error
    assert "checkpoint.keep_every_steps=N keeps more" in error
    assert not (run / "averages").exists()
