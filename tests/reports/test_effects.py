"""What one swept key does, all else equal, against a few lines of scipy."""

import io
import math
import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats

from aaa.compare import main
from aaa.errors import UserError
from aaa.reports.effects import Effect, effects
from aaa.reports.runs import Run, read_runs
from aaa.reports.table import effects_table
from aaa.tracking.validation_rows import ValidationRows
from tests.helpers.made_up_runs import grid, make_trial

Trial = dict[str, Any]
QK, DEPTH = "model.qk_norm", "model.depth"


def noise(trial: Trial, scale: float = 0.01) -> float:
    return random.Random(f"{sorted(trial.items())}").gauss(0, scale)


def swept(folder: Path, trials: list[Trial], loss: Callable[[Trial], float], **options: Any) -> list[Run]:
    for number, trial in enumerate(trials):
        make_trial(folder / f"{number:02d}", trial, loss(trial), **options)
    return read_runs([folder])


def of_key(found: list[Effect], key: str) -> Effect:
    (effect,) = [effect for effect in found if effect.key == key]
    return effect


def found_effects(runs: list[Run], baseline: str | None = None) -> list[Effect]:
    return effects(runs, baseline).found


TWO_BY_TWO = grid(model__qk_norm=[False, True], model__depth=[2, 4], seed=[0, 1, 2])


def test_an_effect_is_averaged_within_each_seed_and_its_interval_is_over_seeds(tmp_path: Path) -> None:
    def loss(trial: Trial) -> float:
        return 1 - 0.1 * trial[DEPTH] - 0.05 * trial[QK] + 0.2 * trial["seed"] + noise(trial)

    runs = swept(tmp_path, TWO_BY_TWO, loss)
    found = found_effects(runs)
    assert [(effect.value, effect.reference) for effect in found] == [
        ("depth=4", "depth=2"),
        ("qk_norm=True", "qk_norm=False"),
    ]
    effect = of_key(found, QK)
    gains = {
        (depth, seed): loss({QK: True, DEPTH: depth, "seed": seed}) - loss({QK: False, DEPTH: depth, "seed": seed})
        for depth in (2, 4)
        for seed in (0, 1, 2)
    }
    by_seed = [(gains[2, seed] + gains[4, seed]) / 2 for seed in (0, 1, 2)]
    low, high = stats.t.interval(0.95, 2, loc=np.mean(by_seed), scale=stats.sem(by_seed))
    assert (effect.difference.low, effect.difference.high) == pytest.approx((low, high))
    assert effect.difference.mean == pytest.approx(np.mean(by_seed))
    assert effect.over == "3 seeds (6 pairs)"
    assert effect.verdict == "better"
    assert effect.notes == []


def test_a_single_seed_is_paired_over_pictures_averaged_over_levels(tmp_path: Path) -> None:
    trials = grid(model__qk_norm=[False, True], model__depth=[2, 4, 8], seed=[7])
    runs = swept(tmp_path, trials, lambda trial: 1 - 0.05 * trial[QK] + noise(trial))
    rows = {(run.config[QK], run.config[DEPTH]): run.validation for run in runs}

    def losses(value: bool, depth: int) -> np.ndarray:
        of_run = rows[value, depth]
        assert isinstance(of_run, ValidationRows)
        return np.array(of_run.losses)

    distances = np.mean([losses(True, depth) - losses(False, depth) for depth in (2, 4, 8)], axis=0)
    interval = stats.ttest_1samp(distances, 0).confidence_interval(0.95)
    effect = of_key(found_effects(runs), QK)
    assert effect.over == "12 pictures (3 pairs)"
    assert (effect.difference.low, effect.difference.high) == pytest.approx(tuple(interval))


def test_a_single_seed_says_of_its_very_models_which_is_better_and_nothing_else(tmp_path: Path) -> None:
    """What seeds do looks like an effect, and another at each depth."""
    trials = grid(model__qk_norm=[False, True], model__depth=[2, 4, 8, 16], seed=[0])
    runs = swept(tmp_path, trials, lambda trial: 1 + noise(trial, 0.1))
    effect = of_key(found_effects(runs), QK)
    assert (effect.verdict, effect.notes) == ("worse (these models)", [])
    assert "Over pictures: of these very models, not of other seeds." in text_of(found_effects(runs), 120)
    of_two = swept(tmp_path / "more", grid(model__qk_norm=[False, True], model__depth=[2, 4, 8, 16], seed=[1]), noise)
    assert "Over pictures" not in text_of(found_effects([*runs, *of_two]), 120)


@pytest.mark.slow
def test_the_levels_of_a_dependence_are_chosen_among_all_of_them(tmp_path: Path) -> None:
    """Of eight, two differ by chance: 28 pairs could have."""
    trials = grid(model__qk_norm=[False, True], model__depth=list(range(8)), seed=[0, 1, 2, 3, 4])

    def anew(n: int) -> Callable[[Trial], float]:
        return lambda trial: noise(trial | {"n": n})

    found = [of_key(found_effects(swept(tmp_path / f"{n}", trials, anew(n))), QK).notes for n in range(2)]
    assert found == [[]] * len(found)


def test_an_effect_of_both_signs_is_no_one_answer(tmp_path: Path) -> None:
    def loss(trial: Trial) -> float:
        return 1 + (0.05 if trial[DEPTH] == 4 else -0.05) * trial[QK] + noise(trial, 0.001)

    effect = of_key(found_effects(swept(tmp_path, TWO_BY_TWO, loss)), QK)
    assert effect.verdict == "no one answer"
    assert effect.notes == ["qk_norm=True: at depth=2 it helps, at depth=4 it hurts: no one answer"]


def test_values_that_say_the_same_are_named_together(tmp_path: Path) -> None:
    trials = grid(model__qk_norm=[False, True], model__depth=[1, 2, 3, 4, 5, 6], seed=[0, 1])
    runs = swept(tmp_path, trials, lambda trial: 1 + (-1 if trial[DEPTH] < 6 else 1) * trial[QK] + noise(trial, 1e-6))
    assert of_key(found_effects(runs), QK).depends == [
        "at depth=1, 2, 3, 2 more it helps, at depth=6 it hurts: no one answer"
    ]


def test_a_sign_that_may_be_chance_is_not_told(tmp_path: Path) -> None:
    def loss(trial: Trial) -> float:
        return 1 + (0.002 if trial[DEPTH] == 4 else -0.002) * trial[QK] + noise(trial, 0.05)

    assert of_key(found_effects(swept(tmp_path, TWO_BY_TWO, loss)), QK).notes == []


def test_an_effect_that_is_clear_at_one_value_alone_is_not_called_contrary(tmp_path: Path) -> None:
    of_the_deeper = {0: 0.010, 1: 0.021, 2: 0.030}  # above 0 in the mean, and not clearly

    def loss(trial: Trial) -> float:
        return 1 + (of_the_deeper[trial["seed"]] if trial[DEPTH] == 4 else -0.03 - 1e-4 * trial["seed"]) * trial[QK]

    effect = of_key(found_effects(swept(tmp_path, TWO_BY_TWO, loss)), QK)
    assert effect.notes == ["qk_norm=True: at depth=2 it helps, at depth=4 it cannot be told: not the same everywhere"]
    assert effect.verdict == "cannot be told"


@pytest.mark.parametrize(
    "trials",
    [
        grid(model__qk_norm=[False, True], seed=[0, 1, 2]),
        grid(model__depth=[2], seed=[0, 1]),
        # One change at a time: each row against the baseline says it already.
        [{QK: False, DEPTH: 2, "seed": 0}, {QK: True, DEPTH: 2, "seed": 0}, {QK: False, DEPTH: 4, "seed": 0}],
        # A random search has no two runs that differ in one key alone.
        [{QK: bool(n % 2), "optimizer.learning_rate": 0.001 * 1.1**n, "seed": 0} for n in range(8)],
    ],
)
def test_nothing_is_said_where_no_key_was_swept_over_others(tmp_path: Path, trials: list[Trial]) -> None:
    runs = swept(tmp_path, trials, lambda trial: 1 + noise(trial))
    assert effects(runs) == ([], [])
    assert effects_table([]) is None


def test_incomplete_cells_are_left_out_and_named(tmp_path: Path) -> None:
    trials = grid(model__qk_norm=[False, True], model__depth=[2, 4, 8, 16], seed=[0, 1, 2])
    trials = [
        trial
        for trial in trials
        if not (trial[DEPTH] == 8 and trial[QK])
        and not (trial[DEPTH] == 16 and trial["seed"] == 2)
        and not (trial[DEPTH] == 4 and not trial[QK] and trial["seed"] == 1)
    ]
    loss = {True: 0.9, False: 1.0}
    runs = swept(tmp_path, trials, lambda trial: loss[trial[QK]] + 0.01 * trial["seed"] * trial[QK])
    effect = of_key(found_effects(runs), QK)
    assert effect.over == "2 seeds (4 pairs)"
    assert effect.difference.mean == pytest.approx(-0.1 + 0.01 * mean([0, 2]))
    assert set(effect.left_out) == {
        "depth=8 (only with qk_norm=False)",
        "depth=16 (not of all seeds)",
        "seed=1 (not everywhere)",
    }


@pytest.mark.parametrize(("value", "why"), [(True, "qk_norm=True diverged"), (False, "qk_norm=False diverged")])
def test_a_cell_in_which_a_run_diverged_is_left_out_whole(tmp_path: Path, value: bool, why: str) -> None:
    trials = grid(model__qk_norm=[False, True], model__depth=[2, 4, 8], seed=[0, 1])

    def loss(trial: Trial) -> float:
        return math.nan if trial == {QK: value, DEPTH: 8, "seed": 1} else 1 - 0.1 * trial[QK] + noise(trial, 1e-4)

    effect = of_key(found_effects(swept(tmp_path, trials, loss)), QK)
    assert effect.over == "2 seeds (4 pairs)"
    assert effect.notes == [f"qk_norm=True: left out: depth=8 ({why})"]
    assert effect.verdict == "better, where both finish"


def test_a_cell_in_which_a_run_stopped_is_left_out_whole(tmp_path: Path) -> None:
    """One that becomes nan ends before it validates; one that was tried again to the end is whole."""
    trials = grid(model__qk_norm=[False, True], model__depth=[1, 2, 4, 8], seed=[0, 1])
    swept(tmp_path, trials, lambda trial: 1 - 0.1 * trial[QK] + noise(trial, 1e-3))
    for number, trial in enumerate(trials):
        if trial in ({QK: True, DEPTH: 4, "seed": 1}, {QK: True, DEPTH: 8, "seed": 0}, {QK: True, DEPTH: 8, "seed": 1}):
            shutil.rmtree(tmp_path / f"{number:02d}" / "validation")
            (tmp_path / f"{number:02d}" / "metrics.jsonl").write_text('{"step": 1, "train/loss": 9.0}\n')
    make_trial(tmp_path / "again", trials[0], 1.0, step=5)
    effect = of_key(found_effects(read_runs([tmp_path])), QK)
    assert effect.over == "2 seeds (4 pairs)"
    assert effect.left_out == ["depth=4 (qk_norm=True not finished)", "depth=8 (qk_norm=True not validated)"]
    assert effect.verdict == "better, where both finish"


def test_where_nothing_is_left_it_is_said_why(tmp_path: Path) -> None:
    runs = swept(tmp_path, TWO_BY_TWO, lambda trial: math.nan if trial[QK] and trial[DEPTH] == 4 else noise(trial))
    assert found_effects(runs) == []
    assert effects(runs).unanswered == [
        "depth=4: no answer by itself, which takes 2 settings of the other keys "
        "(left out: qk_norm=True (depth=4 diverged))",
        "qk_norm=True: no answer by itself, which takes 2 settings of the other keys "
        "(left out: depth=4 (qk_norm=True diverged))",
    ]
    of_many = grid(model__qk_norm=list(range(7)), model__depth=[2, 4], seed=[0])
    runs = swept(tmp_path / "many", of_many, lambda trial: math.nan if trial[DEPTH] == 4 else 1.0)
    assert len(effects(runs).unanswered) == 4
    assert effects(runs).unanswered[-1] == "4 more values likewise"


def test_what_is_not_finished_or_of_another_table_does_not_count(tmp_path: Path) -> None:
    trials = grid(model__qk_norm=[False, True], model__depth=[2, 4, 8, 16, 32], seed=[0, 1])
    for number, trial in enumerate(trials):
        step = 5 if trial[QK] and trial[DEPTH] == 8 else 10
        table = "b" if trial[DEPTH] == 16 or trial == {QK: True, DEPTH: 32, "seed": 0} else "a"
        loss = (0.1 if trial[DEPTH] == 16 else 1.0) - 0.1 * trial[QK] + noise(trial)
        make_trial(tmp_path / f"{number:02d}", trial, loss, step=step, table=table)
    effect = of_key(found_effects(read_runs([tmp_path])), QK)
    assert effect.over == "2 seeds (4 pairs)"
    assert effect.left_out == [
        "depth=8 (qk_norm=True not finished)",
        "depth=32 (of this validation table only with qk_norm=False)",
    ]


def test_references_are_those_of_the_baseline(tmp_path: Path) -> None:
    runs = swept(tmp_path, TWO_BY_TWO, lambda trial: 1 - 0.1 * trial[QK] + noise(trial))
    effect = of_key(found_effects(runs, "depth=4 qk_norm=True"), QK)
    assert (effect.value, effect.reference) == ("qk_norm=False", "qk_norm=True")
    assert effect.difference.mean == pytest.approx(-of_key(found_effects(runs), QK).difference.mean)
    assert found_effects(runs, "00") == found_effects(runs), "of the first run, by its name"
    with pytest.raises(UserError, match="--baseline nowhere"):
        found_effects(runs, "nowhere")


def text_of(found: list[Effect], width: int) -> str:
    console = Console(file=(out := io.StringIO()), width=width)
    console.print(effects_table(found, width))
    return out.getvalue()


@pytest.mark.parametrize("width", [70, 120])
def test_of_many_values_of_a_key_the_best_are_shown(tmp_path: Path, width: int) -> None:
    trials = grid(optimizer__learning_rate=[0.001 * 2**n for n in range(7)], model__depth=[2, 4], seed=[0])
    runs = swept(tmp_path, trials, lambda trial: 1 + abs(math.log(trial["optimizer.learning_rate"] / 0.008)))
    text = text_of(found_effects(runs), width)
    assert text.count("learning_rate=") == 4
    assert "learning_rate=0.008" in text
    assert "learning_rate: 2 more values of a higher loss than these" in " ".join(text.split())
    assert all(len(line) <= width for line in text.splitlines())
    assert text.count("[+") + text.count("[-") == 5


def test_the_command_says_it_below_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    swept(tmp_path / "runs", TWO_BY_TWO, lambda trial: 1 - 0.1 * trial[QK] + noise(trial))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys, "argv", ["compare", "runs", "--baseline", "depth=2 qk_norm=True"])
    main()
    said = capsys.readouterr().out
    assert said.index("is it better?") < said.index("Validation loss by one key, all else equal")
    assert "3 seeds (6 pairs)" in said
    swept(tmp_path / "failed", TWO_BY_TWO, lambda trial: math.nan if trial[QK] and trial[DEPTH] == 2 else 1.0)
    monkeypatch.setattr(sys, "argv", ["compare", "failed"])
    main()
    assert "qk_norm=True: no answer by itself" in capsys.readouterr().out


def test_many_cells_of_one_seed_say_more_than_few_of_two(tmp_path: Path) -> None:
    trials = grid(model__qk_norm=[False, True], model__depth=[1, 2, 3, 4, 5], seed=[0])
    trials += grid(model__qk_norm=[False, True], model__depth=[1, 2], seed=[1])
    effect = of_key(found_effects(swept(tmp_path, trials, lambda trial: 1 + noise(trial))), QK)
    assert effect.over == "12 pictures (5 pairs)"
    assert effect.left_out == ["seed=1 (not everywhere)"]


def test_runs_that_are_not_equally_far_are_no_pair(tmp_path: Path) -> None:
    """Of which it is not known how far they should have come."""
    trials = grid(model__qk_norm=[False, True], model__depth=[2, 4, 8], seed=[0])
    for number, trial in enumerate(trials):
        step = 5 if trial == {QK: True, DEPTH: 8, "seed": 0} else 10
        make_trial(tmp_path / f"{number}", trial | {"trainer.max_steps": None}, 1 + noise(trial), step=step)
    effect = of_key(found_effects(read_runs([tmp_path])), QK)
    assert effect.left_out == ["depth=8 (not equally far)"]
    unfinished = [replace(run, config=run.config | {"trainer.max_steps": 20}) for run in read_runs([tmp_path])]
    assert found_effects(unfinished) == []


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_of_any_grid_with_holes_the_interval_is_over_whole_seeds(
    tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    """What it comes from is said: with the left out taken away, all pairs are there, and give the numbers."""
    whole = grid(model__qk_norm=[False, True], model__depth=[2, 4, 8], seed=[0, 1, 2])
    kept = data.draw(st.lists(st.sampled_from(whole), min_size=8, unique_by=str))
    losses = {str(trial): data.draw(st.floats(0.5, 2.0)) for trial in kept}
    runs = swept(tmp_path_factory.mktemp("grid"), kept, lambda trial: losses[str(trial)])
    for effect in found_effects(runs):
        if effect.key != QK:
            continue
        value, reference = (text.endswith("True") for text in (effect.value, effect.reference))
        gone = " ".join(effect.left_out)
        cells = [depth for depth in (2, 4, 8) if f"depth={depth} " not in gone]
        pairs: dict[int, list[float]] = {}
        for seed in (0, 1, 2):
            sides = [
                [losses.get(str({QK: side, DEPTH: depth, "seed": seed})) for depth in cells]
                for side in (value, reference)
            ]
            if f"seed={seed} " not in gone and None not in [*sides[0], *sides[1]]:
                pairs[seed] = [a - b for a, b in zip(*sides, strict=True) if a is not None and b is not None]
        assert effect.pairs == sum(map(len, pairs.values())) >= 2
        distances = [mean(of_seed) for of_seed in pairs.values()]
        assert effect.difference.mean == pytest.approx(mean(distances), abs=1e-9)
        if len(distances) > 1 and np.std(distances) > 1e-6:
            interval = stats.t.interval(0.95, len(distances) - 1, mean(distances), stats.sem(distances))
            assert (effect.difference.low, effect.difference.high) == pytest.approx(interval)
