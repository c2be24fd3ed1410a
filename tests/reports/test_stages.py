"""Runs that began from trained weights are compared by all that went into them, or it is said that this is unknown."""

import itertools
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from aaa.reports.curves import FROM_UNKNOWN, draw_curves
from aaa.reports.effects import effects
from aaa.reports.first_weights import Beginning, counted_as
from aaa.reports.isoflop import best_sizes, budgets
from aaa.reports.page import write_page
from aaa.reports.paired import against_best, fold_seeds
from aaa.reports.runs import Run, read_runs
from aaa.reports.scaling import as_long, points
from aaa.reports.table import as_rows, comparison, effects_table, verdicts
from aaa.tracking.stages import STAGES, Stage
from tests.helpers.browser import chromium
from tests.helpers.made_up_runs import make_trial
from tests.helpers.saved_figures import saved_figures

SMALL = Stage("small", 40, 1280, 3 * 10**9, 2.0)


def shown(table: Any, width: int = 160) -> str:
    console = Console(width=width)
    with console.capture() as captured:
        console.print(table)
    return " ".join(captured.get().replace("│", " ").split())


def trial(run: Path, told: Mapping[str, Any], loss: float, *stages: Stage, **more: Any) -> None:
    make_trial(run, told, loss, **more)
    if stages:
        said = json.loads((run / "environment.json").read_text())
        (run / "environment.json").write_text(json.dumps(said | {STAGES: [asdict(stage) for stage in stages]}))


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    """One from scratch, one from weights of known cost, and one of an earlier version, of which it is not known."""
    trial(tmp_path / "scratch", {"init_from": None}, 0.30, flops=4e9)
    trial(tmp_path / "staged", {"init_from": "small"}, 0.25, SMALL)
    trial(tmp_path / "earlier", {"init_from": "other"}, 0.28)
    return read_runs([tmp_path])


def test_the_table_says_what_went_before(runs: list[Run]) -> None:
    for width in (70, 160):
        said = shown(comparison(runs, width), width)
        for words in ("40", "1,280", "3e+09", "unknown", "what the weights that a run began from had cost"):
            assert words in said, width
    rows = {row["run"]: row for row in as_rows(runs)}
    assert [rows[name]["began after FLOPs"] for name in ("scratch", "staged", "earlier")] == [0, 3 * 10**9, None]
    assert rows["staged"]["step"] == 10, "its own are its own"


def test_runs_from_scratch_are_shown_as_ever(tmp_path: Path) -> None:
    for seed in (0, 1):
        trial(tmp_path / f"{seed}", {"model.depth": 2 + seed}, 0.3 + 0.1 * seed)
    found = read_runs([tmp_path])
    assert "began" not in shown(comparison(found)) + shown(verdicts(found))
    assert not any(key.startswith("began") for row in as_rows(found) for key in row)
    write_page(found, tmp_path / "page.html")
    assert '"before"' not in (tmp_path / "page.html").read_text()


def test_a_verdict_says_for_how_much_work_in_all(runs: list[Run]) -> None:
    said = shown(verdicts(runs, "scratch"))
    assert "better (these models), with as many FLOPs in all" in said, "3e9 and 1e9 of its own are 4e9"
    assert "better (these models), FLOPs in all not known" in said
    assert "those of the weights that runs began from included" in said
    told = against_best(runs)
    assert told["staged"] == ""
    assert told["scratch"].endswith("], with as many FLOPs in all")
    dearer = [
        replace(run, environment={STAGES: [asdict(replace(SMALL, flops=9 * 10**9))]}) if run.stages else run
        for run in runs
    ]
    assert "with 2.5x the FLOPs in all" in shown(verdicts(dearer, "scratch"))


def test_runs_from_the_same_weights_are_judged_as_ever(tmp_path: Path) -> None:
    for depth, stages in ((2, [SMALL]), (3, [SMALL])):
        trial(tmp_path / f"{depth}", {"init_from": "small", "model.depth": depth}, depth / 10, *stages)
    for depth in (4, 5):
        trial(tmp_path / f"{depth}", {"init_from": "file", "model.depth": depth}, depth / 10)
    known, unknown = (read_runs([tmp_path / name for name in names]) for names in (("2", "3"), ("4", "5")))
    for found in (known, unknown):
        said = shown(verdicts(found))
        assert "worse (these models) " in said
        assert "in all not known" not in said
        assert "with" not in said.replace("[ ]", "").split("is it better?")[1].split("FLOPs in all:")[0]


def test_another_resolution_is_called_neither_better_nor_worse(tmp_path: Path) -> None:
    trial(tmp_path / "small", {"data.resolution": 32, "init_from": None}, 0.1, table="of 32")
    trial(tmp_path / "large", {"data.resolution": 64, "init_from": "small"}, 0.2, SMALL, table="of 64")
    trial(tmp_path / "whole", {"data.resolution": 64, "init_from": None}, 0.3, table="of 64")
    said = shown(verdicts(read_runs([tmp_path])))
    assert said.count("another validation table") == 2, "in its row and below"
    assert said.count("worse") == 1
    assert "better (" not in said


def test_an_effect_says_it_too(tmp_path: Path) -> None:
    for depth in (2, 3):
        for seed in (0, 1):
            told = {"seed": seed, "model.depth": depth}
            trial(tmp_path / f"a{depth}{seed}", told | {"init_from": None}, 0.3 + depth / 100 + seed / 1000)
            staged = 0.2 + depth / 90 + seed / 990
            trial(tmp_path / f"b{depth}{seed}", told | {"init_from": "small"}, staged, SMALL)
    found = effects(read_runs([tmp_path]), "a20").found
    by_key = {effect.key: effect for effect in found}
    assert by_key["init_from"].verdict == "better, with 4x the FLOPs in all"
    assert by_key["model.depth"].verdict == "worse", "both began from the same"
    assert "those of the weights that runs began from included" in shown(effects_table(found))


def test_curves_begin_where_the_weights_ended(runs: list[Run]) -> None:
    _, scratch, staged = sorted(runs, key=lambda run: run.name)
    for x, own, before in (("step", 10, 40), ("samples", 320, 1280), ("seconds", 1.0, 2.0), ("flops", 1e9, 3e9)):
        assert staged.curve(x, "val/loss") == ([own + before], [0.25])
        if x != "flops":
            assert scratch.curve(x, "val/loss") == ([own], [0.30])


def test_sums_are_of_all_and_unknown_ones_are_left_out(runs: list[Run]) -> None:
    assert {name: flops for flops, _, name in points(runs, "flops")} == {"scratch": 4e9, "staged": 4e9}
    assert [run.name for run in as_long(runs)] == ["staged"], "on 1,600 samples"
    earlier, scratch, _ = sorted(runs, key=lambda run: run.name)
    again = replace(earlier, name="again", config=earlier.config | {"seed": 1})
    assert [run.name for run in as_long([scratch, earlier, again])] == ["scratch"], "more runs are of unknown samples"


def test_a_budget_of_flops_is_of_all_of_them(tmp_path: Path) -> None:
    for size, loss in ((1e5, 0.3), (4e5, 0.2), (8e5, 0.25), (1.6e6, 0.4)):
        from_scratch = size < 8e5
        stages = () if from_scratch else (SMALL,)
        told = {"init_from": None if from_scratch else "small", "model.dim": size}
        trial(tmp_path / f"{size:g}", told, loss, *stages, parameters=size, flops=4e9 if from_scratch else 1e9)
    trial(tmp_path / "unknown", {"init_from": "other", "model.dim": 3.2e6}, 0.1, parameters=3.2e6, flops=4e9)
    found = read_runs([tmp_path])
    of_budget = [replace(run, config=run.config | {"budget.flops": run.last("flops")}) for run in found]
    for some in (found, of_budget):
        (budget,) = budgets(some)
        assert budget.flops == 4e9
        assert budget.sizes == [1e5, 4e5, 8e5, 1.6e6]
    assert "3.2M (began from weights of unknown cost)" in " ".join(best_sizes(found))


def seeds_of_stages(folder: Path, own: Mapping[str, int], settings: Mapping[str, str | None]) -> list[Run]:
    for name, seed in own.items():
        stage = replace(SMALL, run=f"small/{name}", kind=settings[name])
        loss = 0.2 + seed / 1000 + len(name) / 10000
        trial(folder / name, {"seed": seed, "init_from": f"small/{name}"}, loss, stage)
        trial(folder / f"{name}-scratch", {"seed": seed, "init_from": None}, loss + 0.1)
    return read_runs([folder])


@pytest.mark.parametrize(
    ("own", "settings", "count"),
    [
        ({"x": 0, "y": 1}, {"x": "s", "y": "s"}, 2),
        ({"x": 0, "y": 1}, {"x": "s", "y": "other"}, 3),
        ({"x": 0, "y": 1}, {"x": None, "y": None}, 3),
        ({"x": 0, "y": 0}, {"x": "s", "y": "s"}, 3),
    ],
)
def test_seeds_of_earlier_stages_are_seeds(
    tmp_path: Path, own: dict[str, int], settings: dict[str, str | None], count: int
) -> None:
    found = seeds_of_stages(tmp_path, own, settings)
    folded = fold_seeds(found)
    assert len(folded) == count
    if count == 2:
        assert {setting.name for setting in folded} == {"init_from=small/*", "init_from=None"}
        assert "2 seeds" in shown(verdicts(found))


def staged(folder: Path, told: Mapping[str, Any], kind: str | None, loss: float, *, step: int = 40) -> None:
    """A run that began from what it was told, after a stage of this kind."""
    stage = Stage(f"/{told['init_from']}", step, 32 * step, 10**8 * step, 1.0, kind)
    trial(folder, told, loss, stage)


def settings_of(runs: list[Run]) -> dict[str, list[str]]:
    return {setting.name: sorted(run.name for run in setting.runs) for setting in fold_seeds(runs)}


def test_seeds_of_two_kinds_that_lie_side_by_side_are_two_settings(tmp_path: Path) -> None:
    """As a sweep over the length of a small stage numbers them."""
    for number, kind in enumerate(("short", "short", "long", "long")):
        told = {"seed": number % 2, "init_from": f"sweep/{number}"}
        staged(tmp_path / f"{number}", told, kind, 0.3 - 0.1 * (kind == "long") + number / 1000)
    found = read_runs([tmp_path])
    assert settings_of(found) == {"init_from=sweep/{2,3}": ["2", "3"], "init_from=sweep/{0,1}": ["0", "1"]}
    assert "less that of the best, init_from=sweep/{2,3}" in shown(verdicts(found))


def test_of_folded_seeds_each_keeps_its_path(tmp_path: Path) -> None:
    found = seeds_of_stages(tmp_path, {"x": 0, "y": 1}, {"x": "s", "y": "s"})
    rows = {row["run"]: row["init_from"] for row in as_rows(found)}
    assert rows == {"x": "small/x", "y": "small/y", "x-scratch": None, "y-scratch": None}
    assert "small/y" in shown(comparison(found))
    for typed in ("init_from=small/y", "init_from=small/*"):
        assert "less that of init_from=small/*" in shown(verdicts(found, typed))


def test_weights_of_another_step_at_the_same_place_are_others(tmp_path: Path) -> None:
    for seed in (0, 1):
        for step in (40, 80):
            told = {"seed": seed, "init_from": f"small/{seed}"}
            staged(tmp_path / f"{step}-{seed}", told, f"of {step}", 10 / step + seed / 1000, step=step)
    assert settings_of(read_runs([tmp_path])) == {
        "init_from=small/* (step 80)": ["80-0", "80-1"],
        "init_from=small/* (step 40)": ["40-0", "40-1"],
    }


def test_a_run_more_of_another_setting_unfolds_no_others(tmp_path: Path) -> None:
    for seed in (0, 1):
        told = {"optimizer.learning_rate": 0.1, "seed": seed}
        staged(tmp_path / f"{seed}", told | {"init_from": f"small/{seed}"}, "s", 0.2 + seed / 100)
        trial(tmp_path / f"scratch{seed}", told | {"init_from": None}, 0.3 + seed / 100)
    told = {"optimizer.learning_rate": 0.2, "seed": 0}
    staged(tmp_path / "other", told | {"init_from": "small/1"}, "s", 0.25)
    found = read_runs([tmp_path])
    assert sorted(settings_of(found).values()) == [["0", "1"], ["other"], ["scratch0", "scratch1"]]
    assert [run.chosen("init_from") for run in found if run.stages] == ["small/*"] * 3
    staged(tmp_path / "another", told | {"init_from": "small/0"}, "s", 0.26)
    assert sorted(settings_of(read_runs([tmp_path])).values()) == [
        *(["0", "1"], ["another"], ["other"], ["scratch0", "scratch1"])
    ]


def test_seeds_that_share_an_earlier_run_are_not_folded_with_those_of_another(tmp_path: Path) -> None:
    """They would count as four draws of a stage of which there are two."""
    for seed in range(4):
        told = {"seed": seed, "init_from": f"small/{seed // 2}"}
        staged(tmp_path / f"{seed}", told, "s", 0.2 + seed / 100)
    assert settings_of(read_runs([tmp_path])) == {"init_from=small/0": ["0", "1"], "init_from=small/1": ["2", "3"]}


BEGINNINGS = st.builds(
    lambda path, seed, setting, kind, step: Beginning(path, [Stage(f"/{path}", step, kind=kind)], seed, setting),
    st.sampled_from(["a", "a/0", "a/1", "a/{0,1}", "a/*", "b/0", "a/0 (step 1)"]),
    st.integers(0, 2),
    st.sampled_from(["x", "y"]),
    st.none() | st.sampled_from(["s", "t"]),
    st.none() | st.integers(1, 2),
)


@given(st.lists(BEGINNINGS, max_size=8))
def test_what_differs_is_never_called_the_same(beginnings: list[Beginning]) -> None:
    """Whatever runs are called: what counts as one is of one kind or the same weights, and no seed is in it twice."""
    named = {f"{number}": begun for number, begun in enumerate(beginnings)}
    counted = counted_as(named)
    assert counted.keys() == named.keys()
    for one, other in itertools.combinations(named, 2):
        a, b = named[one], named[other]
        if counted[one] == counted[other] and a.weights != b.weights:
            assert a.kinds == b.kinds != (None,)
            assert a.setting != b.setting or (a.path == b.path) == (a.seed == b.seed)
        if a.weights == b.weights and a.setting == b.setting and a.kinds == b.kinds:
            assert counted[one] == counted[other]


def test_a_curve_of_unknown_beginning_is_dashed(runs: list[Run], tmp_path: Path, monkeypatch: Any) -> None:
    drawn = saved_figures(monkeypatch)
    for some in (runs, [run for run in runs if run.name != "earlier"]):
        draw_curves(some, tmp_path / "curves.png")
        figure = drawn[-1]
        styles = {line.get_linestyle() for panel in figure.axes for line in panel.get_lines()}
        assert ("--" in styles) == (figure.get_suptitle() == FROM_UNKNOWN) == (some is runs)


def test_the_page_in_a_browser(runs: list[Run], tmp_path: Path) -> None:
    write_page(runs, tmp_path / "page.html")
    with chromium() as browser:
        page, problems = browser.new_page(), []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto((tmp_path / "page.html").as_uri())
        page.wait_for_selector("body[data-ready]")
        assert "40 steps, 1,280 samples, 3e+09 FLOPs, 2 s" in page.inner_text("#rows")
        assert page.locator("#dashed").is_visible()
        ends = page.evaluate("Object.fromEntries(drawn.map(c => [runs[c.run].name, c.points.at(-1)[0]]))")
        assert ends == {"scratch": 10, "staged": 50, "earlier": 10}
        assert page.evaluate("runs.map(run => [run.name, inAll(run, 'flops')]).sort()") == [
            ["earlier", None],
            ["scratch", 4e9],
            ["staged", 4e9],
        ]
        page.fill("#filter", "staged")
        assert not page.locator("#dashed").is_visible()
        assert not problems
