"""Runs that differ in many keys at once are told apart by what they were told."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from aaa.errors import UserError
from aaa.reports.folding import by_setting
from aaa.reports.heat_map import maps_of
from aaa.reports.labels import labels
from aaa.reports.page import write_page
from aaa.reports.paired import find_setting, fold_seeds
from aaa.reports.runs import Run, read_runs
from aaa.reports.table import MOST_KEYS, as_rows, comparison
from aaa.reports.telling import setting_keys, telling_keys
from aaa.tracking.validation_rows import ValidationRows, write_rows
from tests.helpers.made_up_runs import grid, make_trial

KEYS = 12


def make_run(folder: Path, recipe: int, seed: int, told: str | None) -> None:
    folder.mkdir(parents=True)
    keys = "".join(f"  key{number}: {number * (recipe + 1) % 5}\n" for number in range(1, KEYS))
    (folder / "config.yaml").write_text(f"seed: {seed}\nmodel:\n  _target_: aaa.{'ab'[recipe % 2]}\n{keys}")
    (folder / "metrics.jsonl").write_text('{"step": 1, "val/loss": 0.5}\n')
    if told is not None:
        (folder / ".hydra").mkdir()
        (folder / ".hydra" / "overrides.yaml").write_text(told)


def told_of(recipe: int, seed: int) -> str:
    return f"- +experiment@_global_=recipe_{recipe}\n- seed={seed}\n- +experiment=recipes\n- model.key1=0.5\n- 'a'\n"


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    for recipe in range(3):
        for seed in range(2):
            make_run(tmp_path / "sweep" / f"{recipe}-{seed}", recipe, seed, told_of(recipe, seed))
    return tmp_path / "sweep"


def test_the_option_of_a_group_tells_what_many_keys_would(recipes: Path) -> None:
    runs = read_runs([recipes])
    assert setting_keys(runs) == ["experiment"]
    assert [[run.name for run in members] for members in by_setting(runs)] == [
        ["0-0", "0-1"],
        ["1-0", "1-1"],
        ["2-0", "2-1"],
    ]
    headers = [str(column.header) for column in comparison(runs).columns]
    assert headers[:4] == ["run", "val loss", "experiment", "seed"]
    assert "key3" not in " ".join(headers)


def test_two_recipes_are_named_by_what_was_told_in_every_table(tmp_path: Path) -> None:
    """One key of many tells two of them apart, and would be taken for all that differs."""
    for recipe, guidance in ((0, "routing"), (1, "interval")):
        folder = tmp_path / "sweep" / f"{recipe}"
        make_run(folder, recipe, 0, told_of(recipe, 0))
        with (folder / "config.yaml").open("a") as config:
            config.write(f"guidance: {{_target_: aaa.{guidance}}}\n")
        write_rows(folder, ValidationRows(1, "a", ["x", "y"], [0.5, 0.5], [0.25 + recipe, 0.5 + recipe]))
    runs = read_runs([tmp_path / "sweep"])
    settings = fold_seeds(runs)
    assert [setting.name for setting in settings] == ["experiment=recipe_0", "experiment=recipe_1"]
    assert all(find_setting(settings, f"{typed}recipe_1") is settings[1] for typed in ("", "+experiment@_global_="))
    assert [str(column.header) for column in comparison(runs).columns][:3] == ["run", "val loss", "experiment"]
    assert [row["experiment"] for row in as_rows(runs)] == ["recipe_0", "recipe_1"]
    without_record = [replace(run, choices={}, typed=None) for run in runs]
    names = [setting.name for setting in fold_seeds(without_record)]
    headers = [str(column.header) for column in comparison(without_record).columns]
    assert names[0].partition("=")[0] in " ".join(headers), "by whatever key, it is in both tables"


@pytest.mark.parametrize("told", ["recipe", "_1", "recipe_0 recipe_1"])
def test_no_part_of_an_option_is_a_baseline(recipes: Path, told: str) -> None:
    for folder in recipes.iterdir():
        write_rows(folder, ValidationRows(1, "a", ["x", "y"], [0.5, 0.5], [0.25, 0.5]))
    with pytest.raises(UserError, match="no such run or setting"):
        find_setting(fold_seeds(read_runs([recipes])), told)


@pytest.mark.parametrize(
    "told", [None, "- [broken", "not: a list\n", "- repeat=outputs/x\n", "- +experiment=recipe_2\n"]
)
def test_a_run_that_was_told_something_else_is_compared_by_its_config(recipes: Path, told: str | None) -> None:
    make_run(recipes / "again", 2, 2, told)
    runs = read_runs([recipes])
    keys = setting_keys(runs)
    assert all(key.startswith("model.") for key in keys)
    assert len(keys) <= MOST_KEYS
    assert ["2-0", "2-1", "again"] in [[run.name for run in members] for members in by_setting(runs)]


def test_an_option_that_has_changed_meanwhile_folds_nothing_together(recipes: Path) -> None:
    make_run(recipes / "2-9", 3, 9, told_of(2, 9))
    runs = read_runs([recipes])
    assert ["2-9"] in [[run.name for run in members] for members in by_setting(runs)]


@pytest.mark.parametrize("option", ["name=n{0}", "logger=a{0}", "init_from=x{0}", "sampler=s{0}"])
def test_what_is_no_setting_of_the_training_names_none(tmp_path: Path, option: str) -> None:
    for recipe in range(3):
        make_run(tmp_path / "sweep" / str(recipe), recipe, 0, f"- {option.format(recipe)}\n")
    assert all(key.startswith("model.") for key in setting_keys(read_runs([tmp_path / "sweep"])))


def test_a_page_has_each_key_once(tmp_path: Path) -> None:
    """Of three options of a group two are of one class."""
    for recipe in range(3):
        make_run(tmp_path / "sweep" / str(recipe), recipe, 0, f"- model=option_{recipe}\n")
    page = tmp_path / "page.html"
    write_page(read_runs([tmp_path / "sweep"]), page)
    found = re.search(r'"keys":\s*(\[[^\]]*\])', page.read_text())
    assert found is not None
    keys = json.loads(found[1])
    assert len(set(keys)) == len(keys)
    assert "model" in keys


def test_a_map_has_the_numbers_that_an_option_stands_for(tmp_path: Path) -> None:
    for recipe in range(4):
        make_run(tmp_path / "sweep" / str(recipe), recipe, 0, f"- model=option_{recipe}\n")
    runs = read_runs([tmp_path / "sweep"])
    assert setting_keys(runs) == ["model"]
    assert all(key.startswith("model.") for key in setting_keys(runs, by_choice=False))


def searched(folder: Path, trials: dict[str, tuple[str, list[str]]]) -> list[Run]:
    """Runs of these configs that were told these overrides."""
    for name, (config, told) in trials.items():
        (folder / name / ".hydra").mkdir(parents=True)
        (folder / name / "config.yaml").write_text(config)
        (folder / name / "metrics.jsonl").write_text('{"step": 1, "val/loss": 0.5}\n')
        (folder / name / ".hydra" / "overrides.yaml").write_text(json.dumps(told))
    return read_runs([folder])


def test_all_that_a_search_has_tried_is_named(tmp_path: Path) -> None:
    """Of a continuous range every run has another value, and tells it from all others alone."""
    trials = {}
    for number, (depth, mean, rate) in enumerate([(4, 0.25, 0.02), (8, 0.5, 0.04), (4, 0.75, 0.01)]):
        for seed in (0, 1):
            config = f"model: {{dim: {32 * depth}, depth: {depth}}}\nscheduler: {{mean: {mean}, std: {2 * mean}}}\n"
            config += f"optimizer: {{learning_rate: {rate}}}\nseed: {seed}\n"
            swept = [f"model.depth={depth}", f"scheduler.mean={mean}", f"optimizer.learning_rate={rate}"]
            trials[f"{number}-{seed}"] = config, [*swept, f"seed={seed}", "scheduler.std=${double:${.mean}}"]
    runs = searched(tmp_path, trials)
    assert setting_keys(runs) == telling_keys(runs) == ["model.depth", "scheduler.mean", "optimizer.learning_rate"]
    assert [len(members) for members in by_setting(runs)] == [2, 2, 2]
    assert labels(runs)["1-0"] == "depth=8 mean=0.5 learning_rate=0.04 seed=0"
    assert len(list(maps_of(runs))) == 3


def test_an_option_is_not_lost_in_a_search(tmp_path: Path) -> None:
    trials = {}
    for number, (option, rate) in enumerate([("small", 0.02), ("base", 0.04), ("small", 0.01)]):
        config = f"model: {{dim: {len(option)}0, depth: 3}}\noptimizer: {{learning_rate: {rate}}}\n"
        trials[f"{number}"] = config, [f"model={option}", f"optimizer.learning_rate={rate}"]
    runs = searched(tmp_path, trials)
    assert setting_keys(runs) == ["model", "optimizer.learning_rate"], "widths of terms follow from the model's"
    assert setting_keys(runs, by_choice=False) == ["model.dim", "optimizer.learning_rate"]


def test_two_classes_that_go_together_are_both_named(tmp_path: Path) -> None:
    trials = {}
    for optimizer, scheduler in (("adamw", "linear"), ("muon", "bell")):
        config = (
            f"optimizer: {{_target_: a.{optimizer}}}\nscheduler: {{_target_: a.{scheduler}, std: {len(scheduler)}}}\n"
        )
        trials[optimizer] = config, [f"optimizer={optimizer}", f"scheduler={scheduler}"]
    told = labels(searched(tmp_path, trials))
    assert told["muon"] == "optimizer=muon scheduler=bell"


KNOWN = "- lr_scheduler.warmup_steps=10\n"
WENT_ON = '{"changed": {"seed": [0, 1]}}'


@pytest.mark.parametrize(
    ("overrides", "environment"),
    [
        (KNOWN, "{}"),
        ("not a list", "{}"),
        (KNOWN + "- repeat=outputs/x\n", "{}"),
        (KNOWN, '{"changed": {"seed": [0, 1]}}'),
    ],
)
def test_arguments_that_come_along_with_a_class_take_no_column(
    tmp_path: Path, overrides: str, environment: str
) -> None:
    configs = {
        "cosine": "{_target_: a.cosine, final_fraction: 0.0}",
        "decay": "{_target_: a.decay, decay_fraction: 0.5, final_fraction: 0.02, warmup_steps: 10}",
    }
    for name, schedule in configs.items():
        (tmp_path / name / ".hydra").mkdir(parents=True)
        (tmp_path / name / "config.yaml").write_text(f"lr_scheduler: {schedule}\n")
        (tmp_path / name / "metrics.jsonl").write_text('{"step": 1, "val/loss": 0.5}\n')
        (tmp_path / name / ".hydra" / "overrides.yaml").write_text(overrides)
        (tmp_path / name / "environment.json").write_text(environment)
    table = comparison(read_runs([tmp_path]))
    headers = [str(column.header) for column in table.columns]
    arguments = [header.rpartition(".")[2] for header in headers if header.startswith("lr_scheduler.")]
    if (overrides, environment) == (KNOWN, "{}"):
        assert arguments == ["warmup_steps"], "the others follow from lr_scheduler, and this was asked for"
        assert "2 more keys differ" in str(table.caption)
    else:
        assert sorted(arguments) == ["decay_fraction", "final_fraction", "warmup_steps"], "who knows what was asked for"


def widths(folder: Path, told: dict[str, list[str]]) -> list[Run]:
    """Runs of two widths at two depths, of which the width and place of a term follow."""
    trials = {}
    for dim in (32, 64):
        for depth in (3, 6):
            terms = f"{{align: {{dim: {dim}, after_block: {depth // 3}, weight: {dim + depth}}}}}"
            config = f"model: {{dim: {dim}, depth: {depth}}}\nobjective: {{terms: {terms}}}\n"
            name = f"{dim}-{depth}"
            trials[name] = config, [f"model.dim={dim}", f"model.depth={depth}", *told.get(name, [])]
    return searched(folder, trials)


NO_COPIES = ["objective.terms.align.weight", "objective.terms.align.after_block"]


def settings_shown(runs: list[Run]) -> list[str]:
    headers = [str(column.header) for column in comparison(runs).columns]
    return headers[2 : headers.index("steps")]


def test_a_copy_of_what_runs_were_told_takes_no_column_and_is_named(tmp_path: Path) -> None:
    runs = widths(tmp_path / "runs", {})
    assert settings_shown(runs) == ["model.dim", "model.depth", *NO_COPIES], "who knows what these follow from"
    caption = str(comparison(runs).caption)
    assert "2 more keys differ, and tell no more settings apart (see --json and --csv): " in caption
    assert "objective.terms.align.dim" in caption
    assert {"objective.terms.align.dim", "objective.terms.align.weight"} < as_rows(runs)[0].keys()
    page = tmp_path / "page.html"
    write_page(runs, page)
    assert '"objective.terms.align.after_block"' in page.read_text()


def test_what_a_run_was_told_itself_keeps_its_column(tmp_path: Path) -> None:
    runs = widths(tmp_path / "runs", {"32-3": ["objective.terms.align.dim=32"]})
    assert {*settings_shown(runs)} == {"model.dim", "model.depth", "objective.terms.align.dim", *NO_COPIES}
    runs = widths(tmp_path / "others", {})
    unknown = [replace(run, typed=None) if run.name == "64-6" else run for run in runs]
    assert "objective.terms.align.dim" in settings_shown(unknown)
    of_seed = [replace(run, config=run.config | {"objective.terms.align.dim": n}) for n, run in enumerate(runs * 2)]
    assert "objective.terms.align.dim" in settings_shown(of_seed), "it follows from nothing"


def test_what_was_changed_in_a_file_meanwhile_keeps_its_column(tmp_path: Path) -> None:
    """It tells the same runs apart as what they were told, or none of their values comes twice."""
    for number, trial in enumerate(grid(optimizer__learning_rate=[0.001, 0.002], seed=[0, 1, 2])):
        size = 16 if trial["optimizer.learning_rate"] == 0.001 else 64
        make_trial(tmp_path / "edited" / f"{number}", trial, 1.0, follows={"trainer.batch_size": size})
    assert "trainer.batch_size" in settings_shown(read_runs([tmp_path / "edited"]))
    for number in range(6):
        trial = {"optimizer.learning_rate": 0.001 + 0.0001 * number, "seed": 0}
        make_trial(tmp_path / "random" / f"{number}", trial, 1.0, follows={"trainer.batch_size": 16 << number % 2})
    assert "trainer.batch_size" in settings_shown(read_runs([tmp_path / "random"]))


def test_what_an_option_means_keeps_its_columns(tmp_path: Path) -> None:
    trials = {}
    for option, dim in (("dit_tiny", 32), ("dit_10m", 64)):
        for rate in (0.1, 0.2):
            config = f"model: {{dim: {dim}, depth: {dim // 8}}}\noptimizer: {{learning_rate: {rate}}}\n"
            trials[f"{option}-{rate}"] = config, [f"model={option}", f"optimizer.learning_rate={rate}"]
    shown = settings_shown(searched(tmp_path, trials))
    assert {"model.dim", "model.depth", "optimizer.learning_rate"} <= set(shown)
