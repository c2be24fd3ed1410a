"""Benchmarks as a user types them, cut down to seconds: that they run and say what they found, not how fast."""

from pathlib import Path

import pytest

from tests.e2e.conftest import SMALL, Command, bench_results
from tests.helpers.bf16 import needs_bf16

TINY = ["model.dim=32", "model.depth=1", "model.heads=2", "data.resolution=16", "trainer.batch_size=2"]


def test_checkpoints_are_measured(command: Command, tmp_path: Path) -> None:
    done = command("aaa.bench", *TINY, "bench=checkpoint", "bench.repeats=1")
    assert done.code == 0, done.err
    seconds = {row["what"]: row["seconds"] for row in bench_results(tmp_path)["rows"]}
    assert len(seconds) == 7
    copy, disk = ("saved in the background: " + what for what in ("the step waits for a copy", "until it is on disk"))
    assert 0 < seconds[copy] < seconds[disk]
    assert seconds["resuming: loading"] > 0


def test_a_number_that_no_bench_can_have_is_told_by_its_key(command: Command) -> None:
    done = command("aaa.bench", *TINY, "bench=scale", "bench.gpus=[0]")
    assert done.code == 1
    assert "bench.gpus=[0]: must be a list with one at least, each a whole number of at least 1." in done.error


@pytest.mark.slow
def test_speed_measures_every_combination(command: Command, tmp_path: Path) -> None:
    done = command(
        "aaa.bench", *TINY, "bench.batch_sizes=[1,2]", "bench.precisions=[float32,bf16]", "bench.steps=2", "+bench.x=1"
    )
    assert "bench.x: Speed takes no such argument" in done.error
    done = command("aaa.bench", *TINY, "bench.batch_sizes=[1,2]", "bench.precisions=[float32,bf16]", "bench.steps=2")
    assert done.code == 0, done.err
    found = bench_results(tmp_path)
    assert [(row["precision"], row["batch"]) for row in found["rows"]] == [
        ("float32", 1),
        ("float32", 2),
        ("bf16", 1),
        ("bf16", 2),
    ]
    for row in found["rows"]:
        assert row["images/s"] == pytest.approx(1000 * row["batch"] / row["step ms"])
        assert 0 < row["MFU"] < 1
        assert row["p5"] <= row["step ms"] <= row["p95"]
        for part in ("data", "forward", "backward", "optimizer", "EMA", "logging"):
            assert row[f"{part} ms"] >= 0
    assert any(note.startswith("fastest: trainer.batch_size=") for note in found["notes"])
    assert "images/s" in done.out + done.err


def test_overhead_compares_the_trainer_with_a_bare_loop(command: Command, tmp_path: Path) -> None:
    done = command("aaa.bench", "bench=overhead", *TINY, "bench.rounds=2", "bench.steps=3")
    assert done.code == 0, done.err
    found = bench_results(tmp_path)
    assert [row["loop"] for row in found["rows"]] == ["bare loop", "trainer"]
    assert found["notes"][0].startswith("overhead: ")


@pytest.mark.slow
def test_encode_builds_opens_and_reads(command: Command, tmp_path: Path) -> None:
    done = command("aaa.bench", "bench=encode", *TINY, "bench.records=[20,40]", "bench.opened_records=2000")
    assert done.code == 0, done.err
    rows = bench_results(tmp_path)["rows"]
    assert [row["records"] for row in rows] == [20, 40, 2000, 2000]
    assert all(row["pictures/s"] > 0 and row["peak GiB"] > 0 for row in rows[:2])


@pytest.mark.slow
def test_startup_times_the_commands(command: Command, tmp_path: Path) -> None:
    done = command("aaa.bench", "bench=startup", *TINY, "data.source.num_records=20", "bench.repeats=1")
    assert done.code == 0, done.err
    found = bench_results(tmp_path)
    assert all(row["seconds"] > 0 for row in found["rows"])
    assert "beside python -c 'import torch, diffsynth'" in found["notes"][1]


@needs_bf16
@pytest.mark.slow
def test_the_tutorials_loop_runs_beside_ours(command: Command, tmp_path: Path) -> None:
    few = ["bench.steps=1", "bench.our_steps=1", "bench.batch_size=2"]
    done = command("aaa.bench", "bench=tutorial", "model=dit_0.1b", "data=pokemon", *few)
    assert done.code == 0, done.err
    rows = {row["loop"]: row["images/s"] for row in bench_results(tmp_path)["rows"]}
    assert list(rows) == [
        "DiffSynth, encoding every step",
        "ours, encoding once",
        "DiffSynth, from cached latents",
        "ours, from cached latents",
    ]
    assert all(rate > 0 for rate in rows.values())
    # Counted, not timed apart: of DiffSynth's two a busy machine may time either as the slower over one step.
    assert rows["ours, encoding once"] < rows["ours, from cached latents"]


@pytest.mark.slow
def test_quality_trains_both_regimes_and_compares_them(command: Command, tmp_path: Path) -> None:
    small = [option for option in SMALL if not option.startswith(("trainer.", "evaluation."))]
    done = command("aaa.bench", "bench=quality", *small, "trainer.max_steps=6", "bench.steps.tutorial=8")
    assert done.code == 0, done.err
    rows = bench_results(tmp_path)["rows"]
    assert max(row["samples"] for row in rows if row["regime"] == "tutorial") == 8
    assert max(row["samples"] for row in rows if row["regime"] == "ours") == 6 * 32
    assert bench_results(tmp_path)["notes"][0].startswith("tutorial: best validation loss")


@pytest.mark.slow
def test_ways_are_measured_with_the_configs_model(command: Command, tmp_path: Path) -> None:
    few = ["bench.repeats=1", "bench.prompt_tokens=8"]
    done = command("aaa.bench", "bench=ways", *SMALL[:6], "trainer.batch_size=2", *few)
    assert done.code == 0, done.err
    rows = bench_results(tmp_path)["rows"]
    ways = [row["way"] for row in rows]
    assert "attention in blocks" in ways
    assert "model.positions=rope model.qk_norm=true model.mlp=swiglu, which costs" in ways
    assert len(set(ways)) == len(ways) > 20
    assert all(row["without ms"] > 0 and row["with ms"] > 0 for row in rows)


@pytest.mark.slow
def test_sharing_counts_pictures_alone_side_by_side_and_beside_loops(command: Command, tmp_path: Path) -> None:
    small = [option for option in SMALL if not option.startswith(("trainer.", "evaluation.", "validation."))]
    done = command("aaa.bench", "bench=sharing", *small, "trainer.device=cpu", "bench.seconds=6")
    assert done.code == 0, done.err
    rows = bench_results(tmp_path)["rows"]
    assert [row["threads spin"] for row in rows] == ["the runtime's own", "ours"]
    assert all(row[name] > 0 for row in rows for name in ("alone", "two side by side", "beside two endless loops"))


@pytest.mark.slow
def test_coordinates_compare_sizes(command: Command, tmp_path: Path) -> None:
    base = ("model.base_dim=32", "model.base_depth=1", "model.base_heads=2")
    done = command("aaa.bench", *TINY, *base, "bench=coordinates", "bench.widths=[32,64]", "bench.depths=[]")
    assert done.code == 0, done.err
    found = bench_results(tmp_path)
    assert {row["steps"] for row in found["rows"]} == {1, 5, 10}
    assert {row["along"] for row in found["rows"]} == {"width"}
    assert set(found["rows"][0]["values"]["mup"]["update"]) == {"32", "64"}
    assert "mup, by width, at most: " in done.out + done.err


@pytest.mark.slow
def test_speedrun_looks_at_each_recipe_while_it_trains(command: Command, tmp_path: Path) -> None:
    small = [
        text for text in TINY if not text.startswith("data.resolution")
    ]  # the recipe's positions are for 32 pixels
    few = [
        "trainer.max_steps=4",
        "data.source.num_records=64",
        "bench.looks=2",
        "bench.num_images=4",
        "bench.seeds=[1]",
    ]
    done = command("aaa.bench", "bench=speedrun", *small, *few)
    assert done.code == 0, done.err
    found = bench_results(tmp_path)
    assert [row["recipe"] for row in found["rows"]] == ["2026-11-26", "now"]
    for row in found["rows"]:
        assert row["seconds"] is None or 0 < row["seconds"] <= row["seconds of training"]
        assert 0 <= row["right at the end"] <= 1
