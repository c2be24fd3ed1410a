"""The ledger's commands, table and picture."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aaa.tracking.validation_rows import ValidationRows, write_rows
from tests.helpers.scripts import load_script

ROOT = Path(__file__).parents[1]


table = load_script("ledger", "table")
run = load_script("ledger", "run")
cost = load_script("ledger", "cost")


def outcome(
    row: str,
    seed: int,
    loss: float,
    *,
    digest: str = "a",
    content: str = "",
    pictures: int = 70,
    held_out: float = 0.8,
) -> object:
    return table.Outcome("training", row, seed, 10, 1e9, digest, content, loss, pictures, held_out, held_out)


def test_shares_differ_by_the_published_interval() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table II, 56/70 against 48/80: 0.0524 to 0.3339 by method 10.
    found = table.share_difference(
        [outcome("a", 1, 0.1, pictures=70, held_out=0.8)], [outcome("b", 1, 0.1, pictures=80, held_out=0.6)]
    )
    assert (found.mean, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_none_right_of_either_leaves_an_interval() -> None:
    none = [outcome("a", seed, 0.1, held_out=0.0) for seed in (1, 2)]
    found = table.share_difference(none, none)
    assert found.low < 0 < found.high


def test_losses_are_paired_by_seed_and_other_tables_refused() -> None:
    base = [outcome("baseline", seed, loss) for seed, loss in ((1, 0.2), (2, 0.3), (3, 0.4))]
    better = [outcome("x", seed, loss) for seed, loss in ((3, 0.38), (1, 0.19), (2, 0.29))]
    found = table.loss_difference(better, base)
    # Differences -0.01, -0.01, -0.02: mean -0.01333, t(0.975, 2) = 4.3027 times 0.005774 / sqrt(3) = 0.01434.
    assert (found.mean, found.low, found.high) == pytest.approx((-0.01333, -0.02768, 0.00101), abs=1e-5)
    assert (found.over, found.count) == ("seeds", 3)
    assert table.loss_difference([outcome("x", 1, 0.1, digest="b"), outcome("x", 2, 0.1, digest="b")], base[:2]) is None


def test_a_row_is_compared_with_the_baseline_of_the_seeds_it_has() -> None:
    outcomes = [outcome("baseline", seed, loss) for seed, loss in ((1, 0.2), (2, 0.3), (3, 0.9))]
    outcomes += [outcome("qk_norm", seed, loss) for seed, loss in ((1, 0.11), (2, 0.19))]
    base, row = table.lines(outcomes, "training")
    assert (base.row, base.loss, row.row) == ("baseline", None, "qk_norm")
    assert row.loss.mean == pytest.approx(-0.1)
    shown = table.as_markdown("training", [base, row])
    assert "`model.qk_norm=true`" in shown
    assert "SpeedrunDiT, 2512.12386" in shown


def test_an_emoji_is_right_among_the_nearest_five_whether_its_prompt_was_seen_or_held_out(tmp_path: Path) -> None:
    made = tmp_path / "emoji" / "baseline" / "0"
    made.mkdir(parents=True)
    write_rows(made, ValidationRows(7, "digest", ["a", "b"], [0.2, 0.8], [0.1, 0.3], content="bits"))
    (made / "config.yaml").write_text("seed: 4\nevaluation: {num_images: 50}\ntrainer: {max_steps: 7}\n")
    judged = {"quality/right_seen": 0.1, "quality/right_seen_top5": 0.3, "quality/right_held_out": 0.02}
    row = {"step": 7, "flops": 1e9, "val/loss": 0.2, **judged, "quality/right_held_out_top5": 0.12}
    (made / "metrics.jsonl").write_text(json.dumps(row))
    (one,) = table.of_training(tmp_path, "emoji")
    assert one == table.Outcome("emoji", "baseline", 4, 7, 1e9, "digest", "bits", 0.2, 50, 0.3, 0.12)
    assert table.right_pictures([one, one]) == (2 * (15 + 6), 200)
    assert table.right_pictures([dataclasses.replace(one, kind="training")]) == (6, 50)
    (shown,) = table.lines([one], "emoji")
    assert "21 of 100 (6 held out)" in table.as_markdown("emoji", [shown])


def test_the_kept_numbers_are_read_as_they_were_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    outcomes = [outcome("baseline", 1, 0.123456789), outcome("qk_norm", 2, 0.1)]
    monkeypatch.setattr(table, "RUNS", tmp_path / "runs.csv")
    table.keep(outcomes)
    assert table.read() == outcomes
    again, more = outcome("qk_norm", 2, 0.2), outcome("baseline", 2, 0.3)
    table.keep([again, more])
    assert table.read() == [outcomes[0], more, again], "what is not there any more stays, what was run anew is replaced"


def test_losses_of_one_table_are_compared_whatever_version_wrote_them_down(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(table, "RUNS", tmp_path / "runs.csv")
    before = [outcome("baseline", seed, 0.1 * seed, digest="old", content="bits") for seed in (1, 2)]
    after = [outcome("qk_norm", seed, 0.1 * seed - 0.01, digest="new", content="bits") for seed in (1, 2)]
    table.keep([*before, *after])
    table.keep([outcome("tread", 1, 0.1, digest="new"), outcome("sprint", 1, 0.1, digest="other")])
    assert [(one.row, one.content) for one in table.read()] == [
        ("baseline", "bits"),
        ("baseline", "bits"),
        ("qk_norm", "bits"),
        ("qk_norm", "bits"),
        ("sprint", ""),
        ("tread", "bits"),
    ]
    compared = {line.row: line.loss for line in table.lines(table.read(), "training")}
    assert compared["qk_norm"].mean == pytest.approx(-0.01)


def test_the_tables_of_the_page_are_those_of_its_numbers() -> None:
    page = (Path(table.RUNS).parent / "README.md").read_text()
    outcomes = table.read()
    for kind in {one.kind for one in outcomes}:
        _, _, told = table.as_markdown(kind, table.lines(outcomes, kind)).partition("\n\n")
        assert told.strip() in page, kind


def test_rows_that_cost_more_get_fewer_steps_and_unknown_costs_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    costs = tmp_path / "costs.csv"
    monkeypatch.setattr(run, "COSTS", {"ledger": costs, "emoji": costs})
    cost.write(costs, {"baseline": (1.0, 1.0), "qk_norm": (1.25, 1.0)})
    cost.write(costs, {"qk_norm": (1.1, 1.0), "tread": (0.8, 0.75)})
    assert run.read_costs(costs) == {"baseline": (1.0, 1.0), "qk_norm": (1.1, 1.0), "tread": (0.8, 0.75)}
    commands: list[list[str]] = []

    def call(command: list[str]) -> bool:
        commands.append(command)
        return True

    monkeypatch.setattr(run, "call", call)
    assert run.train_as_long(tmp_path, ["qk_norm", "tread"], ["logger=none"], 220) == []
    steps = [[part for part in command if "max_steps" in part or "flops" in part] for command in commands]
    assert steps == [["budget.flops=null", f"trainer.max_steps={count}"] for count in (200, 275)]
    with pytest.raises(SystemExit, match=r"cost\.py registers"):
        run.train_as_long(tmp_path, ["registers"], [], 220)
    assert run.train_as_long(tmp_path, ["tread"], [], 220, "emoji") == []
    assert "+experiment=ledger_openmoji" in commands[-1]
    assert f"hydra.sweep.dir={tmp_path}/emoji_seconds/tread" in commands[-1]
    with pytest.raises(SystemExit, match=r"cost\.py --emoji mmdit"):
        run.train_as_long(tmp_path, ["mmdit"], [], 220, "emoji")


def test_a_row_that_names_its_run_is_drawn_once_for_each(tmp_path: Path) -> None:
    runs = [tmp_path / "0", tmp_path / "1"]
    for made in runs:
        (made / "checkpoints" / "step-00000010").mkdir(parents=True)
    (together,) = run.drawing(tmp_path / "row", runs, ["steps=8"], ["evaluation.num_images=4"])
    assert f"model={runs[0]},{runs[1]}" in together
    assert [part for part in together if part.startswith("steps=")] == ["steps=8"], "the row's own comes over others"
    apart = list(run.drawing(tmp_path / "row", runs, ["guidance.model={run}/checkpoints/step-00000010"], []))
    for made, command in zip(runs, apart, strict=True):
        assert f"guidance.model={made}/checkpoints/step-00000010" in command
    (raw,) = run.drawing(tmp_path / "row", runs, ["weights=raw"], [])
    assert f"model={runs[0]}/checkpoints/step-00000010,{runs[1]}/checkpoints/step-00000010" in raw


@pytest.mark.slow
def test_rows_are_run_as_typed_and_skipped_when_they_are_done(tmp_path: Path) -> None:
    small = ["data.resolution=16", "data.source.num_records=48", "data.source.num_validation=16", "model.dim=64"]
    small += ["trainer.batch_size=8", "budget.flops=1e10", "evaluation.num_images=2", "sampling.steps=2", "seed=1,2"]
    small += ["validation.num_records=8", "logger=none", "sweep.show_plan=false"]
    command = [sys.executable, str(ROOT / "experiments" / "ledger" / "run.py"), "--folder", "ledger"]
    env = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}

    def typed(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *words], cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=400
        )

    done = typed("baseline", "qk_norm", *small)
    assert done.returncode == 0, done.stderr
    outcomes = list(table.of_training(tmp_path / "ledger", "training"))
    assert [(one.row, one.seed) for one in outcomes] == [
        ("baseline", 1),
        ("baseline", 2),
        ("qk_norm", 1),
        ("qk_norm", 2),
    ]
    assert len({one.flops for one in outcomes}) == 1
    again = typed("baseline", *small)
    assert again.stderr.count("is finished: skipped") == 2
    unknown = typed("qk_nrom")
    assert "no such row: qk_nrom" in unknown.stderr


def test_rows_without_a_baseline_of_their_seeds_say_nothing() -> None:
    base = [outcome("baseline", seed, 0.2) for seed in (1, 2)]
    others = [outcome("tread", seed, 0.1) for seed in (3, 4)]
    assert [line.row for line in table.lines([*base, *others], "training")] == ["baseline"]
    assert table.lines(others, "training") == []
