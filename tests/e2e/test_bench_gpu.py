"""bench=gpu with tiny sizes on a CPU: each part runs, so that the day with a GPU is not lost to a typo."""

from pathlib import Path

import pytest

from tests.e2e.conftest import Command, bench_results

FORKED = True

TINY = [
    *("trainer.device=cpu", "model.dim=32", "model.depth=1", "model.heads=2", "model.parametrization=standard"),
    *("data.resolution=16", "bench.batches=[2,auto]", "bench.most=4", "bench.row_seconds=0.05"),
    *("bench.copied_bytes=4096", "bench.models=[dit_tiny]"),
]
PARTS = "device,plain,attention,kernels,latents,checkpoint,optimizer"


@pytest.mark.slow
def test_every_part_runs_without_a_gpu(command: Command, tmp_path: Path) -> None:
    told = ["bench.judged=dit_tiny", f"bench.parts=[{PARTS},compiled]"]
    done = command("aaa.bench", "bench=gpu", *TINY, *told, "bench.compiled=[[dit_tiny,2,reduce-overhead]]")
    assert done.code == 0, done.err
    rows = bench_results(tmp_path)["rows"]
    assert {row["part"] for row in rows} == set(PARTS.split(","))  # no CUDA graphs on a CPU
    assert not [row["note"] for row in rows if str(row.get("note")).startswith("failed")]
    steps = {row["what"]: row for row in rows if row["part"] in ("plain", "latents")}
    assert [row["batch"] for row in steps.values()] == [2, 4, 4, 4]
    for row in steps.values():
        assert row["images/s"] == pytest.approx(1000 * row["batch"] / row["step ms"])
        assert 0 <= row["idle"] < 1
        assert row["MFU"] > 0
    kernels = [row for row in rows if row["part"] == "kernels" and row["what"] == "dit_tiny, compiled false"]
    assert sum(row["share"] for row in kernels if "kind" in row) == pytest.approx(1)
    assert [row["ms"] for row in kernels if "kernel" in row] == sorted(
        (row["ms"] for row in kernels if "kernel" in row), reverse=True
    )
    chosen = [row for row in rows if row["part"] == "attention" and row["chosen"]]
    assert len(chosen) == 1
    assert chosen[0]["ms"] > 0
    assert "batches of 2" in done.out + done.err  # advice


def test_it_ends_in_time_with_what_it_has(command: Command, tmp_path: Path) -> None:
    done = command("aaa.bench", "bench=gpu", *TINY, "bench.seconds=0.5", "bench.row_seconds=100")
    assert done.code == 0, done.err
    (note,) = [note for note in bench_results(tmp_path)["notes"] if note.startswith("bench.seconds=0.5 were over")]
    assert note.endswith("attention, kernels, latents, tutorial, recorded, checkpoint, optimizer, compiled")


def test_parts_and_models_that_there_are_not_are_refused(command: Command) -> None:
    done = command("aaa.bench", "bench=gpu", *TINY, "bench.parts=[device,atention]")
    assert "bench.parts: there is no atention (did you mean 'attention'?)" in done.error


@pytest.mark.slow
def test_the_tutorials_loop_and_a_compiled_step_are_on_the_card(command: Command, tmp_path: Path) -> None:
    few = ["bench.tutorial.steps=1", "bench.tutorial.our_steps=1", "bench.tutorial.batch_size=2"]
    told = [
        "bench.models=[dit_tiny,dit_0.1b]",
        "bench.parts=[plain,tutorial,compiled]",
        "bench.compiled=[[dit_tiny,2,static]]",
        "bench.seconds=1500",
    ]
    done = command("aaa.bench", "bench=gpu", *TINY, *few, *told)
    assert done.code == 0, done.err
    rows = bench_results(tmp_path)["rows"]
    assert not [row["note"] for row in rows if str(row.get("note")).startswith("failed")]
    assert len([row for row in rows if row["part"] == "tutorial"]) == 4
    (compiled,) = [row for row in rows if row["part"] == "compiled"]
    assert compiled["compiled"] == "static"
    assert any("trainer.compile=static makes" in note for note in bench_results(tmp_path)["notes"])
