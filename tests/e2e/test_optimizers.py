"""What optimizers are told, as a user tells it: a run that is stopped half way ends where one that is not ends."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.e2e.conftest import SMALL, Command, metrics
from tests.helpers.wandb_file import read_offline_run

FORKED = True
LOOKS = ("trainer.max_steps", "trainer.sample_every_steps", "trainer.validate_every", "trainer.save", "evaluation.")
QUICK = [
    *(argument for argument in SMALL if not argument.startswith(LOOKS)),
    *("trainer.sample_every_steps=0", "trainer.validate_every_steps=4", "trainer.save_every_steps=4"),
    *("evaluation=none", "logger=none", "lr_scheduler=constant"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("told", "rates"),
    [
        (
            ["optimizer.fused=parts", "optimizer.decayed=matrices", "optimizer.adamw_learning_rate=1e-3"],
            {"train/lr": 5e-3, "train/lr_adamw": 1e-3},
        ),
        (["optimizer=soap", "optimizer.decayed=matrices"], {"train/lr": 3e-3}),
        (
            ["optimizer=adamw", "model.parametrization=mup", "model.base_dim=32", "model.base_heads=1"],
            {"train/lr": 5e-3, "train/lr_adamw_hidden": 2.5e-3},
        ),
    ],
)
def test_it_goes_on_to_the_bit(told: list[str], rates: dict[str, float], command: Command, tmp_path: Path) -> None:
    for name, steps in (("whole", 8), ("stopped", 4)):
        done = command("aaa.train", *QUICK, *told, f"trainer.max_steps={steps}", f"hydra.run.dir={name}")
        assert done.code == 0, done.err
    done = command("aaa.train", "resume=stopped", "trainer.max_steps=8")
    assert done.code == 0, done.err
    whole, stopped = (
        load_file(tmp_path / name / "checkpoints/step-00000008/ema.safetensors") for name in ("whole", "stopped")
    )
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)
    last = [row for row in metrics(tmp_path / "stopped") if "train/lr" in row][-1]
    assert {name: last[name] for name in rates} == rates
    done = command("aaa.sample", "model=stopped", "prompt=a red circle", "num_images=1", "steps=1")
    assert done.code == 0, done.err


@pytest.mark.slow
def test_the_rate_of_each_group_is_said_and_logged(command: Command, tmp_path: Path) -> None:
    larger = ("model.parametrization=mup", "model.base_dim=32", "model.base_heads=1", "model.base_depth=1")
    quick = [argument for argument in QUICK if argument != "logger=none"]
    done = command("aaa.train", *quick, *larger, "trainer.max_steps=4", "hydra.run.dir=run")
    assert done.code == 0, done.err
    rates = {
        "muon_hidden": 5e-3 / 2**0.5,
        "muon_hidden_to_stream": 5e-3 / 2**1.5,
        "adamw_base": 5e-3,
        "adamw_vector_to_stream": 5e-3 / 2,
        "adamw_hidden": 5e-3 / 2,
        "adamw_output": 5e-3 / 2,
    }
    for name, rate in rates.items():
        assert f"{name} {rate:.3g}" in done.err
    rows = [row for row in read_offline_run(tmp_path / "run").history if "train/lr" in row]
    assert len(rows) == 4
    for row in rows:
        assert {name: row[f"train/lr_{name}"] for name in rates} == pytest.approx(rates)
    planned = command("aaa.plan", *quick, *larger)
    assert planned.code == 0, planned.err
    for name, rate in rates.items():
        assert f"{name} {rate:.3g}" in " ".join(planned.out.split())


@pytest.mark.slow
def test_a_run_from_before_its_size_took_its_rate_from_a_base_goes_on_as_it_was(
    command: Command, tmp_path: Path
) -> None:
    started = [*QUICK, "model=dit_10m", "model.parametrization=standard", "hydra.run.dir=run", "trainer.max_steps=4"]
    done = command("aaa.train", *started)
    assert done.code == 0, done.err
    new_keys = re.compile(r"^ *(parametrization|base_(dim|depth|heads|batch_size)|ema_memory): .*\n", re.MULTILINE)
    for kept in ("config.yaml", ".hydra/config.yaml"):
        path = tmp_path / "run" / kept
        written = path.read_text()
        path.write_text(new_keys.sub("", written))
        assert path.read_text() != written
    done = command("aaa.train", "resume=run", "trainer.max_steps=8")
    assert done.code == 0, done.err
    rows = [row for row in metrics(tmp_path / "run") if "train/lr" in row]
    assert rows[-1]["step"] == 8
    assert all(row["train/lr"] == 5e-3 and not any(key.startswith("train/lr_") for key in row) for row in rows)
