import json
import math
import random
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import mean, variance

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats

from aaa.errors import UserError
from aaa.reports.heat_map import maps_of
from aaa.reports.paired import (
    Difference,
    Setting,
    against_best,
    best_setting,
    difference,
    find_setting,
    fold_seeds,
    of_one_table,
    run_named,
)
from aaa.reports.runs import Run, read_runs
from aaa.reports.same_tables import last_validations
from aaa.reports.table import verdicts
from aaa.reports.telling import differing_keys
from aaa.tracking.validation_rows import ValidationRows, newest_rows, write_rows
from tests.helpers.made_up_runs import make_trial

PICTURES = 40


def make_run(
    folder: Path, rate: float, seed: int, shift: float, table: str = "a", spread: float = 0.01, step: int = 10
) -> None:
    """A run whose losses are those of its pictures, which differ much, plus a shift, which differs little."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(
        f"seed: {seed}\noptimizer: {{learning_rate: {rate}}}\ntrainer: {{max_steps: 10}}\n"
    )
    draws = random.Random(f"{rate} {seed}")
    losses = [0.1 * (record + 1) + shift + draws.gauss(0, spread) for record in range(PICTURES) for _ in range(2)]
    records = [f"{record}" for record in range(PICTURES) for _ in range(2)]
    write_rows(folder, ValidationRows(step, table, records, [0.25, 0.75] * PICTURES, losses))
    metrics = {"step": step, "val/loss": sum(losses) / len(losses)}
    (folder / "metrics.jsonl").write_text(json.dumps(metrics) + "\n")


def test_tables_are_the_same_by_digest_or_by_content(tmp_path: Path) -> None:
    versions = {"a": ("old", None), "b": ("old", "x"), "c": ("new", "x"), "d": ("new", "y"), "e": ("z", "y")}
    versions |= {"f": ("other", "w"), "g": ("older", None)}
    for number, (name, (table, content)) in enumerate(versions.items()):
        make_run(tmp_path / name, 1e-3 * (1 + number), 0, shift=0.01 * number, table=table)
        path = tmp_path / name / "validation" / "step-00000010.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"content": content}))
    tables = {name: rows.table for name, rows in last_validations(read_runs([tmp_path])).items()}
    assert tables == dict.fromkeys("abcde", "old") | {"f": "other", "g": "older"}
    assert [run.name for run in of_one_table(read_runs([tmp_path]))] == list("abcde")
    assert shown(read_runs([tmp_path]), tmp_path).count("another validation table") == 3, "two rows and below"


def shown(runs: list[Run], path: Path, baseline: str | None = None) -> str:
    console = Console(width=200, record=True, file=(path / "out").open("w"))
    console.print(verdicts(runs, baseline))
    return console.export_text()


def test_a_small_difference_is_seen_on_the_same_pictures(tmp_path: Path) -> None:
    make_run(tmp_path / "a", 1e-3, 0, shift=0)
    make_run(tmp_path / "b", 2e-3, 0, shift=0.02)
    better, worse = fold_seeds(read_runs([tmp_path]))
    found = difference(worse, better)
    # The pictures' own losses go from 0.1 to 4: only pairing can see 0.02.
    assert (found.over, found.count) == ("pictures", PICTURES)
    assert found.low < 0.02 < found.high
    assert found.high - found.low < 0.012
    assert found.is_clear
    assert difference(better, worse).mean == pytest.approx(-found.mean)
    told = against_best(read_runs([tmp_path]))
    assert told["a"] == ""
    assert told["b"] == str(found)
    text = shown(read_runs([tmp_path]), tmp_path)
    assert "the baseline" in text
    assert "worse" in text
    assert "better" in shown(read_runs([tmp_path]), tmp_path, baseline="b").rpartition("is it better?")[2]


def test_how_a_run_was_started_and_kept_is_no_setting(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        make_run(tmp_path / f"a{seed}", 1e-3, seed, 0.0)
    resumed = tmp_path / "a2" / "config.yaml"
    started = (
        "name: again\ntrust_config: true\nlogger: {project: x}\nsweep: {resume: true}\ncheckpoint: {keep_last: 1}\n"
        "encoder: {batch_size: 2}\n"
        "data: {license: mit, attribution: me, local_cache_gib: 5, cache_dir: there, parts: {a: {license: mit}}}\n"
    )
    waiting = "max_steps: 10, collective_timeout_seconds: 1800"
    resumed.write_text(resumed.read_text().replace("max_steps: 10", waiting) + started)
    (setting,) = fold_seeds(read_runs([tmp_path]))
    assert len(setting.runs) == 3


OF_SPEED = {
    "parallel": ("ddp", "fsdp"),
    "shard_processes": (None, 2),
    "compile": (False, True),
    "gradient_checkpointing": (False, True),
    "gradient_checkpointing_offload": (False, True),
}


@pytest.mark.parametrize("budget", [None, 60])
@pytest.mark.parametrize("key", OF_SPEED)
def test_how_fast_a_step_is_makes_a_setting_where_time_is_the_budget_alone(
    tmp_path: Path, key: str, budget: int | None
) -> None:
    for seed in (0, 1):
        make_run(tmp_path / str(seed), 1e-3, seed, 0.0)
        config = {"seed": seed, "budget": {"seconds": budget}, "trainer": {"max_steps": 10, key: OF_SPEED[key][seed]}}
        (tmp_path / str(seed) / "config.yaml").write_text(yaml.safe_dump(config))
    runs = read_runs([tmp_path])
    assert len(fold_seeds(runs)) == (1 if budget is None else 2)
    assert f"trainer.{key}" in differing_keys(runs), "it is shown all the same"


def test_seeds_fold_whatever_is_drawn_with_them(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        for name, rate in (("a", 1e-3), ("b", 2e-3)):
            make_run(tmp_path / f"{name}{seed}", rate, seed, 0.0)
            config = tmp_path / f"{name}{seed}" / "config.yaml"
            looks = f"trainer: {{max_steps: 10, evaluate_every_steps: {seed}, validate_every_steps: {seed}}}\n"
            drawn = f"sampling: {{steps: {seed}}}\nevaluation: {{num_images: {seed}}}\n"
            drawn += f"sampler: {{_target_: a.Sampler{seed}}}\nguidance: {{_target_: a.Guidance, scale: {seed}}}\n"
            config.write_text(f"seed: {seed}\noptimizer: {{learning_rate: {rate}}}\n{looks}{drawn}")
    runs = read_runs([tmp_path])
    assert [len(setting.runs) for setting in fold_seeds(runs)] == [3, 3]
    # What else differs is shown all the same.
    assert {"sampling.steps", "evaluation.num_images"} < set(differing_keys(runs))


def test_a_run_of_an_earlier_version_folds_with_those_of_today(tmp_path: Path) -> None:
    """Which say what there was only one of before."""
    terms = "contrastive: {weight: 0.0}, align: {weight: 0.0CELLS, dim: 8}"
    objective = f"objective: {{_target_: aaa.objectives.flow_matching.FlowMatching, terms: {{{terms}}}}}\n"
    for seed in (1, 2):
        make_run(tmp_path / str(seed), 1e-3, seed, 0.0)
        config = tmp_path / str(seed) / "config.yaml"
        today = "model: {dim: 8, in_channels: 3}\n" + objective.replace("CELLS", ", cells: 1" if seed == 2 else "")
        config.write_text(config.read_text() + today)
    assert [len(setting.runs) for setting in fold_seeds(read_runs([tmp_path]))] == [2]


def test_keys_that_there_were_not_yet_had_their_defaults(tmp_path: Path) -> None:
    """Those of a class of one's own, which has no schema, are its own affair."""
    today = {
        "model": {"depth": 3, "joint": "single", "registers": 0},
        "data": {"name": "a", "weight": None},
        "trainer": {"max_steps": 10, "on_nonfinite": "stop"},
        "routing": {"kind": "none", "rate": None},
    }
    before = {"model": {"depth": 3}, "data": {"name": "a"}, "trainer": {"max_steps": 10}}
    other = before | {"model": {"depth": 3, "registers": 4}}
    of_ones_own = before | {"optimizer": {"_target_": "mine.Optimizer", "fused": "whole"}}
    for seed, config in enumerate((today, before, other, of_ones_own)):
        make_run(tmp_path / str(seed), 1e-3, seed, 0.1 * seed)
        config = {"optimizer": {"_target_": "mine.Optimizer"}, "seed": seed} | config
        (tmp_path / str(seed) / "config.yaml").write_text(yaml.safe_dump(config))
    settings = fold_seeds(read_runs([tmp_path]))
    assert [setting.name for setting in settings] == [
        "registers=0 fused=None",
        "registers=4 fused=None",
        "registers=0 fused=whole",
    ]
    assert len(settings[0].runs) == 2


@pytest.mark.parametrize(("one", "other"), [("2", "2.0"), ("[0, 1]", "[0.0, 1.0]"), ("20240101", "20240101.0")])
def test_a_number_is_one_however_it_is_written(tmp_path: Path, one: str, other: str) -> None:
    for seed, decay in enumerate((one, other, one, "true", "1")):
        make_run(tmp_path / str(seed), 1e-3, seed, 0.1 * seed)
        (tmp_path / str(seed) / "config.yaml").write_text(f"seed: {seed}\noptimizer: {{weight_decay: {decay}}}\n")
    runs = read_runs([tmp_path])
    assert [len(setting.runs) for setting in fold_seeds(runs)] == [3, 1, 1], "a switch is no number"
    assert differing_keys(runs[:3]) == ["seed"]


def test_seeds_fold_where_time_is_the_budget(tmp_path: Path) -> None:
    """Each finds out by itself how many steps fit into it."""
    for seed, steps, reached in ((1, 10, 10), (2, 12, 12), (3, 11, 4)):
        make_run(tmp_path / str(seed), 1e-3, seed, 0.0, step=reached)
        told = f"seed: {seed}\nbudget: {{seconds: 60}}\ntrainer: {{max_steps: {steps}}}\n"
        (tmp_path / str(seed) / "config.yaml").write_text(told)
    (setting,) = fold_seeds(read_runs([tmp_path]))
    assert [run.name for run in setting.runs] == ["1", "2"]
    assert setting.left_out == {"3": "not finished: validated at step 4 of 11"}
    make_run(tmp_path / "fixed", 1e-3, 1, 0.1)  # beside one whose steps were said
    timed, fixed = fold_seeds(read_runs([tmp_path]))
    assert (timed.name, fixed.name) == ("seconds=60", "seconds=None")
    assert ([run.name for run in timed.runs], timed.left_out) == (["1", "2"], setting.left_out)
    make_run(tmp_path / "longer", 1e-3, 1, 0.2, step=20)
    longer = tmp_path / "longer" / "config.yaml"
    longer.write_text(longer.read_text().replace("max_steps: 10", "max_steps: 20"))
    names = [setting.name for setting in fold_seeds(read_runs([tmp_path]))]
    assert names == ["seconds=60 max_steps=None", "seconds=None max_steps=10", "seconds=None max_steps=20"]


@pytest.mark.parametrize(
    ("mean", "over", "expected"),
    [
        (0.1, "seeds", "worse"),
        (-0.1, "seeds", "better"),
        (0.1, "pictures", "worse (these models)"),
        (-0.1, "pictures", "better (these models)"),
        (0.01, "pictures", "cannot be told"),
    ],
)
def test_what_pictures_say_is_said_of_these_models_alone(mean: float, over: str, expected: str) -> None:
    assert Difference(mean, mean - 0.05, mean + 0.05, over, 8).verdict == expected


def test_seeds_fold_and_their_spread_is_what_counts(tmp_path: Path) -> None:
    for seed, shift in ((1, 0.0), (2, 0.05), (3, -0.05)):
        make_run(tmp_path / f"a{seed}", 1e-3, seed, shift)
        make_run(tmp_path / f"b{seed}", 2e-3, seed, shift + 0.01)
        make_run(tmp_path / f"c{seed}", 5e-3, seed + 10, 0.02 - shift)
    a, b, c = fold_seeds(read_runs([tmp_path]))
    assert [setting.name for setting in (a, b, c)] == [f"learning_rate={rate}" for rate in ("0.001", "0.002", "0.005")]
    assert a.deviation == pytest.approx(0.05, abs=0.005)
    paired = difference(b, a)  # seeds agree: what they have in common falls out
    assert (paired.over, paired.count) == ("seeds", 3)
    assert paired.is_clear
    apart = difference(c, a)  # they do not: three and three say little
    assert (apart.over, apart.count) == ("seeds", 6)
    assert not apart.is_clear
    assert "cannot be told" in shown(read_runs([tmp_path]), tmp_path)


def test_of_other_seeds_the_interval_is_welchs(tmp_path: Path) -> None:
    """One of the two settings varies much more with its seed; the degrees of freedom are Satterthwaite's."""
    shifts = [[0.0, 0.002, -0.001], [0.05, 0.12, -0.04, 0.01]]
    for rate, of_setting in zip((1e-3, 2e-3), shifts, strict=True):
        for seed, shift in enumerate(of_setting):
            make_run(tmp_path / f"{rate}-{seed}", rate, seed, shift)
    a, b = fold_seeds(read_runs([tmp_path]))
    (one, of_one), (other, of_other) = ((variance(s.losses) / len(s.losses), len(s.losses) - 1) for s in (b, a))
    freedom = (one + other) ** 2 / (one**2 / of_one + other**2 / of_other)
    reach = stats.t.ppf(0.975, freedom) * math.sqrt(one + other)
    found = difference(b, a)
    assert found.mean == pytest.approx(mean(b.losses) - mean(a.losses))
    assert (found.low, found.high) == pytest.approx((found.mean - reach, found.mean + reach))


def test_a_run_that_was_stopped_says_nothing_of_its_setting(tmp_path: Path) -> None:
    make_run(tmp_path / "a", 1e-3, 0, 0.0)
    make_run(tmp_path / "stopped", 1e-3, 0, 0.6, step=2)
    make_run(tmp_path / "b", 2e-3, 0, 0.1)
    make_run(tmp_path / "c", 5e-3, 0, 0.2, step=4)
    runs = read_runs([tmp_path])
    a, b, c = fold_seeds(runs)
    assert [run.name for run in a.runs] == ["a"]
    assert (c.title, b.title) == ("learning_rate=0.005 (at step 4 of 10)", "learning_rate=0.002")
    assert difference(b, a).over == "pictures"
    assert against_best(runs)["stopped"] == "not finished: validated at step 2 of 10"
    text = shown(runs, tmp_path)
    assert "left out: stopped" in text
    assert "learning_rate=0.005 (at step 4 of 10)" in text
    with pytest.raises(UserError, match=r"left out \(not finished: validated at step 2 of 10\)"):
        find_setting([a, b, c], "stopped")


def test_a_run_done_again_is_no_other_seed(tmp_path: Path) -> None:
    for again in ("", "-again"):
        make_run(tmp_path / f"a{again}", 1e-3, 0, 0.0)
        make_run(tmp_path / f"b{again}", 2e-3, 0, 0.1)
    make_run(tmp_path / "b-other-seed", 2e-3, 1, 0.1)
    a, b = fold_seeds(read_runs([tmp_path]))
    found = difference(b, a)
    assert (found.over, found.count) == ("pictures", PICTURES)
    assert found.low < 0.1 < found.high
    assert a.left_out == {"a": "seed 0 again: a-again counts"}
    assert sorted(run.name for run in b.runs) == ["b-again", "b-other-seed"]


def test_other_validation_tables_are_refused(tmp_path: Path) -> None:
    make_run(tmp_path / "a", 1e-3, 0, 0)
    make_run(tmp_path / "b", 2e-3, 0, 0.1, table="b")
    a, b = fold_seeds(read_runs([tmp_path]))
    with pytest.raises(UserError, match="not validated on the same pictures"):
        difference(a, b)
    text = shown(read_runs([tmp_path]), tmp_path)
    assert text.count("another validation table") == 2  # of the setting, and what it means
    assert "judged by other pictures" in text


def test_a_map_is_of_one_table(tmp_path: Path) -> None:
    for rate in (1e-3, 2e-3):
        make_run(tmp_path / f"a{rate}", rate, 0, rate)
    make_run(tmp_path / "b", 5e-3, 0, 0.1, table="b")
    assert [run.name for run in of_one_table(read_runs([tmp_path]))] == ["a0.001", "a0.002"]
    shutil.rmtree(tmp_path / "a0.001" / "validation")  # of a copy that leaves it out, say
    assert [run.name for run in of_one_table(read_runs([tmp_path]))] == ["a0.001", "a0.002"]
    for rows in tmp_path.glob("*/validation"):
        shutil.rmtree(rows)
    assert len(of_one_table(read_runs([tmp_path]))) == 3


def test_the_best_is_that_of_the_table_that_most_share(tmp_path: Path) -> None:
    make_run(tmp_path / "easy", 1e-3, 0, -0.05, table="easy")
    make_run(tmp_path / "a", 2e-3, 0, 0.0)
    make_run(tmp_path / "b", 5e-3, 0, 0.1)
    for number in range(3):
        make_run(tmp_path / f"diverged{number}", 0.1 * (number + 1), 0, math.nan, table="of those")
    runs = read_runs([tmp_path])
    assert best_setting(fold_seeds(runs)).name == "learning_rate=0.002"
    told = against_best(runs)
    assert (told["a"], told["easy"]) == ("", "other table")
    assert told["b"].startswith("+0.")
    assert "the best, learning_rate=0.002" in shown(runs, tmp_path)


def test_a_baseline_that_is_not_there_is_named(tmp_path: Path) -> None:
    make_run(tmp_path / "a", 1e-3, 0, 0)
    make_run(tmp_path / "b", 2e-3, 0, 0)
    settings = fold_seeds(read_runs([tmp_path]))
    assert find_setting(settings, "b").name == "learning_rate=0.002"
    assert find_setting(settings, "optimizer.learning_rate=0.002").name == "learning_rate=0.002", "as it was typed"
    make_run(tmp_path / "2026-11-30_10-00-00" / "b7", 5e-3, 0, 0)
    named = fold_seeds(read_runs([tmp_path]))
    assert find_setting(named, "10-00-00/b7").name == "learning_rate=0.005", "as a narrow table calls it"
    make_run(tmp_path / "2026-11-29_10-00-00" / "b7", 6e-3, 0, 0)
    with pytest.raises(UserError, match="no such run or setting"):
        find_setting(fold_seeds(read_runs([tmp_path])), "10-00-00/b7")
    with pytest.raises(UserError, match=r"--baseline x: no such run or setting. There is: "):
        find_setting(settings, "x")


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("model.qk_norm=false model.depth=2", "depth=2 qk_norm=False learning_rate=0.000123457"),
        ("depth=2.0 norm=x", None),
        ("qk_norm=TRUE depth=2", "depth=2 qk_norm=True learning_rate=0.001"),
        ("learning_rate=1e-3   depth=2", "depth=2 qk_norm=True learning_rate=0.001"),
        ("+optimizer.learning_rate=0.0001234567 depth=2", "depth=2 qk_norm=False learning_rate=0.000123457"),
        ("learning_rate=0.000123457 depth=2", "depth=2 qk_norm=False learning_rate=0.000123457"),
        ("depth=4", "depth=4 qk_norm=null learning_rate=0.001"),
        ("qk_norm=null", "depth=4 qk_norm=null learning_rate=0.001"),
        ("qk_norm=None depth=4", "depth=4 qk_norm=null learning_rate=0.001"),
        ("depth=2", None),
        ("epth=4", None),
        ("depth=4 depth=2", None),
        ("depth=", None),
        ("=4", None),
        ("depth=4 seed=0", None),
        ("depth=04x", None),
    ],
)
def test_a_baseline_is_found_by_what_it_has_of_keys(tmp_path: Path, typed: str, name: str | None) -> None:
    trials: list[tuple[int, bool | None, float]] = [(2, False, 0.0001234567), (2, True, 0.001), (4, None, 0.001)]
    for number, (depth, norm, rate) in enumerate(trials):
        told = {"model.depth": depth, "model.qk_norm": norm, "optimizer.learning_rate": rate, "seed": 0}
        make_trial(tmp_path / f"run{number}", told, 1.0 + number)
    settings = fold_seeds(read_runs([tmp_path]))
    if name is None:
        with pytest.raises(UserError, match=r"no such run or setting\. There is: depth=2"):
            find_setting(settings, typed)
    else:
        assert find_setting(settings, typed).name == name.replace("null", "None")


def test_a_name_that_two_settings_have_is_no_baseline(tmp_path: Path) -> None:
    """Their rates agree in the digits that a name has."""
    for number, rate in enumerate([0.00012345671, 0.00012345674, 0.001]):
        make_trial(tmp_path / f"run{number}", {"optimizer.learning_rate": rate}, 1.0 + number)
    settings = fold_seeds(read_runs([tmp_path]))
    with pytest.raises(UserError, match=r"2 settings are called so\. Name a run of one: run0, run1\.$"):
        find_setting(settings, "learning_rate=0.000123457")
    assert find_setting(settings, "learning_rate=0.00012345674").runs[0].name == "run1"
    assert find_setting(settings, "run1").runs[0].name == "run1"


def test_an_end_that_two_keys_have_is_no_baseline(tmp_path: Path) -> None:
    for number, (first, second) in enumerate([(0.5, 0.0), (0.0, 0.5), (0.5, 0.5)]):
        told = {"objective.terms.a.weight": first, "objective.terms.b.weight": second}
        make_trial(tmp_path / f"run{number}", told, 1.0 + number)
    settings = fold_seeds(read_runs([tmp_path]))
    assert find_setting(settings, "terms.b.weight=.5 a.weight=0").name == "a.weight=0 b.weight=0.5"
    for typed in ("weight=0", "a.weight=0.5"):
        with pytest.raises(UserError, match="no such run or setting"):
            find_setting(settings, typed)
    plain = [replace(setting, values={"weight": [0.5], "a.weight": [0.25 * n]}) for n, setting in enumerate(settings)]
    assert find_setting(plain, "weight=0.5 a.weight=0.25") is plain[1], "a whole key is not one of its ends"


def test_a_baseline_with_blanks_in_its_values_is_found(tmp_path: Path) -> None:
    for number, template in enumerate(["a photo of", "a photo, x=1"]):
        told = {"encoder.template": template, "model.depth": 2 + number}
        make_trial(tmp_path / f"run{number}", told, 1.0 + number)
    settings = fold_seeds(read_runs([tmp_path]))
    assert find_setting(settings, "depth=2 template=a photo of") is settings[0]
    assert find_setting(settings, "template=a photo of depth=2") is settings[0]


@pytest.mark.parametrize("written", ["{}/a", "{}/a/", "{}/../runs/a", "{}/link", "runs/a", "./runs/a/"])
def test_a_baseline_is_known_by_its_folder_however_that_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, rate, step in (("a", 1e-3, 10), ("b", 2e-3, 10), ("c", 2e-3, 5)):
        make_run(tmp_path / "runs" / name, rate, seed=step, shift=0, step=step)
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "runs" / "a")
    runs, baseline = read_runs([Path("runs")]), written.format(tmp_path / "runs")
    assert run_named(runs, baseline) == "a"
    assert "less that of learning_rate=0.001" in " ".join(shown(runs, tmp_path, baseline).split())
    with pytest.raises(UserError, match=r"--baseline c: that run is left out \(not finished: validated at step 5"):
        shown(runs, tmp_path, f"{Path(baseline).parent.resolve()}/c/")
    assert run_named(runs, "elsewhere/a") == "elsewhere/a"


def test_damaged_and_later_rows_are_passed_over(tmp_path: Path) -> None:
    make_run(tmp_path / "a", 1e-3, 0, 0)
    folder = tmp_path / "a" / "validation"
    (folder / "step-00000020.json").write_text('{"step": 20')
    whole = json.loads((folder / "step-00000010.json").read_text())
    for step, loss in ((16, "low"), (17, None), (18, [1.0]), (19, True)):
        damaged = whole | {"step": step, "losses": [loss, *whole["losses"][1:]]}
        (folder / f"step-{step:08d}.json").write_text(json.dumps(damaged))
    (folder / "step-00000015.json").write_text('{"step": 15, "table": "a", "records": [], "sigmas": [], "losses": []}')
    rows = newest_rows(tmp_path / "a", up_to_step=20)
    assert rows is not None
    assert rows.step == 10
    assert newest_rows(tmp_path / "a", up_to_step=9) is None
    assert newest_rows(tmp_path, up_to_step=9) is None
    (folder / "step-00000010.json").unlink()
    assert fold_seeds(read_runs([tmp_path])) == []
    assert verdicts(read_runs([tmp_path])) is None


@pytest.mark.parametrize("records", [["0", "x"], ["0", "0"]])
def test_rows_of_other_pictures_that_name_the_same_table_are_refused(records: list[str]) -> None:
    def setting(name: str, keys: list[str]) -> Setting:
        return Setting(name, [Run(Path(name), name, {}, [])], [ValidationRows(1, "t", keys, [0.5] * 2, [1.0, 2.0])])

    with pytest.raises(UserError, match=r"^b and a: .* is damaged"):
        difference(setting("b", records), setting("a", ["0", "1"]))


def test_a_damaged_run_ends_no_comparison_of_the_others(tmp_path: Path) -> None:
    for number in range(3):
        make_run(tmp_path / f"{number}", 1e-3 * (1 + number), 0, shift=0.1 * number)
    path = tmp_path / "1" / "validation" / "step-00000010.json"
    path.write_text(path.read_text().replace('"17"', '"another"'))
    told = against_best(read_runs([tmp_path]))
    assert told["1"].endswith("One of them is damaged; compare the other without it.")
    assert told["2"].startswith("+0.")


losses = st.lists(st.floats(0, 10), min_size=2, max_size=20)


@settings(max_examples=60)
@given(losses, st.floats(-5, 5))
def test_the_interval_holds_a_shift_that_all_pictures_share(values: list[float], shift: float) -> None:
    def setting(name: str, numbers: list[float]) -> Setting:
        keys = [str(index) for index in range(len(numbers))]
        run = Run(Path(name), name, {}, [])
        return Setting(name, [run], [ValidationRows(1, "t", keys, [0.5] * len(keys), numbers)])

    found = difference(setting("b", [value + shift for value in values]), setting("a", values))
    assert found.mean == pytest.approx(shift, abs=1e-9)
    assert found.low - 1e-6 <= shift <= found.high + 1e-6


def test_what_follows_from_a_class_is_no_setting_of_its_own(tmp_path: Path) -> None:
    for number, (scheduler, seed) in enumerate([("Linear", 1), ("Linear", 2), ("LogitNormal", 1), ("LogitNormal", 2)]):
        make_run(tmp_path / str(number), 1e-3, seed, shift=number / 100)
        std = 1 if scheduler == "LogitNormal" else "null"
        config = f"seed: {seed}\nscheduler: {{_target_: aaa.{scheduler}, std: {std}}}\n"
        (tmp_path / str(number) / "config.yaml").write_text(config)
    names = [setting.name for setting in fold_seeds(read_runs([tmp_path]))]
    assert names == ["scheduler=Linear", "scheduler=LogitNormal"]


def test_classes_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for number, (target, seed) in enumerate(
        [("aaa.optimizers.adamw", 1), ("my_parts.adamw", 1), ("my_parts.adamw", 2)]
    ):
        make_run(tmp_path / str(number), 1e-3, seed, shift=number / 10)
        config = f"seed: {seed}\noptimizer: {{_target_: {target}}}\nscheduler: {{_target_: my_parts.adamw}}\n"
        (tmp_path / str(number) / "config.yaml").write_text(config)
    runs = read_runs([tmp_path])
    settings = fold_seeds(runs)
    assert [setting.name for setting in settings] == ["optimizer=optimizers.adamw", "optimizer=my_parts.adamw"]
    assert find_setting(settings, "optimizer=my_parts.adamw").runs == [runs[1], runs[2]]
    assert runs[0].setting("scheduler._target_") == "adamw"


def test_losses_of_another_table_are_on_no_map(tmp_path: Path) -> None:
    for depth in (2, 4):
        for rate in (1e-3, 2e-3):
            make_run(tmp_path / f"{depth}-{rate}", rate, 0, 0.0)
    make_run(tmp_path / "2-other", 1e-3, 1, 5.0, table="b")
    for folder in tmp_path.iterdir():
        with (folder / "config.yaml").open("a") as config:
            config.write(f"model: {{depth: {folder.name[0]}}}\n")
    (found,) = maps_of(read_runs([tmp_path]))
    assert len(found.losses) == 4
    assert max(found.losses.values()) < 3
    assert found.title == "validation loss\nwithout runs of another validation table (1)"
