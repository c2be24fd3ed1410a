"""Batches as large as memory allows, and models that do not fit otherwise."""

from pathlib import Path

import pytest

from tests.e2e.conftest import SMALL, Command, losses, metrics, only_run

FORKED = True

SHORT = [*SMALL, "logger=none", "trainer.max_steps=4", "trainer.precision=float32"]


def test_auto_finds_a_batch_size_and_a_resumed_run_keeps_it(command: Command, tmp_path: Path) -> None:
    done = command("aaa.train", *SHORT, "trainer.batch_size=auto", "trainer.gradient_accumulation_steps=2")
    assert done.code == 0, done.err
    run = only_run(tmp_path)
    assert "trainer.batch_size=auto: 32" in done.err  # the largest power of two of 48 records
    assert metrics(run)[0]["samples"] == 32
    assert "batch_size: 32" in (run / "config.yaml").read_text()
    resumed = command("aaa.train", f"resume={run}", "trainer.max_steps=5", "trainer.gradient_accumulation_steps=1")
    assert resumed.code == 0, resumed.err
    assert metrics(run)[-1]["step"] == 5
    assert {row["samples"] for row in metrics(run) if "samples" in row} == {32, 64, 96, 128, 160}


@pytest.mark.slow
@pytest.mark.parametrize("key", ["gradient_checkpointing", "gradient_checkpointing_offload"])
def test_recomputing_activations_takes_the_same_steps(command: Command, tmp_path: Path, key: str) -> None:
    for name, value in (("plain", "false"), ("thrifty", "true")):
        done = command("aaa.train", *SHORT, f"name={name}", f"trainer.{key}={value}")
        assert done.code == 0, done.err
    plain, thrifty = (losses(next((tmp_path / "outputs" / name).iterdir())) for name in ("plain", "thrifty"))
    assert list(plain) == [1, 2, 3, 4]
    assert thrifty == pytest.approx(plain, rel=1e-5)
