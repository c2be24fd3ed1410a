import io
import itertools
import json
import math
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from omegaconf import DictConfig
from PIL import Image
from rich.console import Console

from aaa.compare import watch
from aaa.config.trust import read_yaml_config
from aaa.errors import UserError
from aaa.reports.colours import colours_of
from aaa.reports.curves import draw_curves
from aaa.reports.heat_map import MOST_VALUES, Map, draw_heat_maps, maps_of
from aaa.reports.labels import labels
from aaa.reports.page import write_page
from aaa.reports.power_law import bear_a_law, fit_power_law
from aaa.reports.runs import Run, read_runs
from aaa.reports.scaling import draw_scaling, points
from aaa.reports.table import as_rows, comparison
from aaa.reports.telling import differing_keys
from aaa.reports.ticks import plain_ticks
from aaa.tracking.validation_rows import ValidationRows, write_rows
from tests.helpers.made_up_runs import make_runs
from tests.helpers.saved_figures import saved_figures


def make_run(folder: Path, rate: float, losses: list[float]) -> Path:
    folder.mkdir(parents=True)
    target = "aaa.training.optimizers.adamw" if rate < 1 else "torch.optim.SGD"
    (folder / "config.yaml").write_text(
        f"output_dir: {json.dumps(str(folder))}\nseed: 0\nmodel: {{depth: 2}}\n"
        f"optimizer: {{_target_: {target}, learning_rate: {rate}}}\n"
    )
    rows = []
    for step, loss in enumerate(losses, start=1):
        rows.append({"step": step, "train/loss": loss, "samples": 8 * step, "seconds": 0.5 * step})
        rows.append({"step": step, "val/loss": loss + 0.1})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 9')
    return folder


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    make_run(tmp_path / "sweep" / "0", 0.1, [0.9, 0.5, 0.7])
    make_run(tmp_path / "sweep" / "1", 2.0, [0.8, 0.4, 0.3])
    (tmp_path / "sweep" / "1" / ".hydra").mkdir()
    (tmp_path / "sweep" / "1" / ".hydra" / "config.yaml").write_text("seed: 0")
    return tmp_path / "sweep"


def test_runs_are_found_and_read(sweep: Path) -> None:
    first, second = read_runs([sweep, sweep / "0"])
    assert (first.name, second.name) == ("0", "1")
    assert first.last("val/loss") == pytest.approx(0.8)
    assert first.best() == pytest.approx(0.6)
    assert first.last("nothing") is None
    # Validation rows carry no samples of their own: they take those of the training row before.
    assert first.curve("samples", "val/loss") == ([8, 16, 24], pytest.approx([1.0, 0.6, 0.8]))
    assert differing_keys([first, second]) == ["optimizer._target_", "optimizer.learning_rate"]


def test_copies_of_configs_are_no_runs(sweep: Path) -> None:
    """As W&B keeps them in a run's folder, and Hydra where a run ended before it had written its own."""
    for copy in ("0/wandb/run-20261127_120000-abc/files", "2/.hydra"):
        (sweep / copy).mkdir(parents=True)
        (sweep / copy / "config.yaml").write_text("seed: {value: 0}\n")
        (sweep / copy / "environment.json").write_text("{}")
    assert [run.name for run in read_runs([sweep])] == ["0", "1"]


def test_a_run_and_a_link_to_it_are_one(sweep: Path) -> None:
    (sweep / "latest").symlink_to(sweep / "1")
    assert [run.name for run in read_runs([sweep, sweep / "latest", sweep / "0" / ".." / "1"])] == ["0", "1"]


def test_a_folder_that_goes_while_runs_are_looked_for_is_passed_over(
    sweep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sweep / "gone").mkdir()
    real = os.scandir

    def scandir(path: str | Path) -> Any:
        if Path(path).name == "gone":
            Path(path).rmdir()
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert [run.name for run in read_runs([sweep])] == ["0", "1"]
    assert not (sweep / "gone").exists()


def test_a_config_is_read_again_where_it_is_another(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def reading(path: Path) -> DictConfig:
        read.append(path)
        return read_yaml_config(path)

    monkeypatch.setattr("aaa.reports.runs.read_yaml_config", reading)
    first, second = ([run.config for run in read_runs([sweep])] for _ in range(2))
    assert first == second
    assert read == [sweep / name / "config.yaml" for name in "01"]
    changed = sweep / "1" / "config.yaml"
    changed.write_text(changed.read_text().replace("depth: 2", "depth: 16"))
    assert [run.config["model.depth"] for run in read_runs([sweep])] == [2, 16]
    assert read[2:] == [changed]


def test_the_table_shows_what_differs_best_first(sweep: Path) -> None:
    console = Console(width=160, record=True, file=(sweep / "out").open("w"))
    console.print(comparison(read_runs([sweep])))
    text = console.export_text()
    assert "optimizer.learning_rate" in text
    assert "model.depth" not in text
    assert "SGD" in text
    assert text.index("│ 1 ") < text.index("│ 0 ")
    assert "0.3" in text


def test_the_curves_are_drawn(sweep: Path) -> None:
    runs = read_runs([sweep])
    draw_curves(runs, sweep / "curves.png")
    assert Image.open(sweep / "curves.png").width > 1000
    first, *_ = runs[0].metrics
    validated_once = [Run(run.folder, run.name, run.config, [*run.metrics[:5:2], run.metrics[5]]) for run in runs]
    assert "train/loss" in first
    draw_curves(validated_once, sweep / "once.png")
    whole, once = (Image.open(sweep / name).height for name in ("curves.png", "once.png"))
    assert once == whole / 2, "a single value is no curve"


def test_curves_of_many_runs_are_told_apart_by_their_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds share a colour; of more settings than a legend has room for, a bar says one key; a picture comes once."""
    drawn = saved_figures(monkeypatch)
    for rates, depths in ((2, [2, 4]), (15, [2, 4])):
        make_runs(tmp_path / f"{rates}", [1e-3 * 1.3**n for n in range(rates)], depths, [1, 2, 3, 4], 4, pictures=0)
        draw_curves(read_runs([tmp_path / f"{rates}"]), tmp_path / "curves.png")
    few, many = drawn
    assert [text.get_text() for text in few.legends[0].get_texts()] == [
        f"depth={depth} learning_rate={rate:g}" for rate in (1e-3, 1.3e-3) for depth in (2, 4)
    ]
    assert len({line.get_color() for line in few.axes[0].lines}) == 4
    assert [axis.get_xlabel() for axis in few.axes[:2]] == ["optimizer steps", "seconds of training"]
    assert many.legends == []
    assert many.axes[-1].get_ylabel() == "optimizer.learning_rate"
    assert len({tuple(line.get_color()) for line in many.axes[0].lines}) == 15


@pytest.mark.parametrize(("losses", "scale"), [([0.5, -1.7, math.nan], "linear"), ([0.5, 0.2, -math.inf], "log")])
def test_curves_of_losses_that_are_not_above_0_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, losses: list[float], scale: str
) -> None:
    rows = [{"step": step, "train/loss": loss, "val/loss": 0.1 * step} for step, loss in enumerate(losses, start=1)]
    drawn = saved_figures(monkeypatch)
    draw_curves([Run(tmp_path, "a", {}, rows), Run(tmp_path, "b", {}, rows[:1])], tmp_path / "curves.png")
    trained, _, _, validated, *_ = drawn[0].axes
    assert (trained.get_yscale(), validated.get_yscale()) == (scale, "log")
    low, high = trained.get_ylim()
    assert all(low < loss < high for loss in losses if math.isfinite(loss))


@pytest.mark.parametrize("span", [(0.7, 0.95), (0.53, 1.3), (0.2, 3), (0.01, 50), (1e-6, 1e6)])
def test_ticks_of_logarithmic_axes_are_plain_numbers(span: tuple[float, float]) -> None:
    figure = Figure()
    panel = figure.subplots()
    panel.plot([1, 2], span)
    panel.set_yscale("log")
    plain_ticks(panel, "y")
    figure.canvas.draw()
    low, high = panel.get_ylim()
    shown = [
        label.get_text()
        for place, label in zip(panel.get_yticks(), panel.get_yticklabels(), strict=True)
        if low <= place <= high
    ]
    assert 2 <= len(shown) <= 10
    assert all(re.fullmatch(r"[\d.]+(e[+\u2212]\d+)?", text) for text in shown)
    assert panel.yaxis.get_minorticklabels() == []


def test_runs_are_called_by_what_differs(tmp_path: Path) -> None:
    make_runs(tmp_path / "2026-11-30_10-00-00", [1e-3], [2, 4], [1, 2], rows=3)
    told = labels(read_runs([tmp_path]))
    assert list(told.values()) == [f"depth={depth} seed={seed}" for depth in (2, 4) for seed in (1, 2)]
    make_runs(tmp_path / "again", [1e-3], [4], [2], rows=3)
    assert labels(read_runs([tmp_path]))["again/0.001-4-2"] == "depth=4 seed=2 (again/0.001-4-2)"
    assert labels(read_runs([tmp_path / "again"])) == {"0.001-4-2": "0.001-4-2"}


def test_folders_without_runs_are_named(tmp_path: Path, sweep: Path) -> None:
    with pytest.raises(UserError, match="there is no such folder"):
        read_runs([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no run in it"):
        read_runs([tmp_path / "empty"])
    (sweep / "0" / "config.yaml").write_text("{")
    with pytest.raises(UserError, match="not a config in YAML"):
        read_runs([sweep])


def test_loss_is_drawn_by_two_settings_if_there_are_two(tmp_path: Path, sweep: Path) -> None:
    make_runs(tmp_path / "runs", [1e-3, 5e-3], [2, 4], [1, 2], rows=20)
    (found,) = maps_of(read_runs([tmp_path / "runs"]))
    assert (found.x, found.y, found.title) == ("model.depth", "optimizer.learning_rate", "validation loss")
    assert set(found.losses) == {(depth, rate) for depth in (2, 4) for rate in (1e-3, 5e-3)}
    assert draw_heat_maps(read_runs([tmp_path / "runs"]), tmp_path / "map.png")
    assert Image.open(tmp_path / "map.png").width > 200
    assert not draw_heat_maps(read_runs([sweep]), tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_no_law_is_of_losses_of_several_tables(tmp_path: Path) -> None:
    make_runs(tmp_path / "runs", [1e-3], [2, 4, 8, 16], [1], rows=20)
    runs = read_runs([tmp_path / "runs"])
    for number, run in enumerate(runs):
        loss, table = (0.01, "another") if number == 1 else (run.last("val/loss") or 0.0, "one")
        write_rows(run.folder, ValidationRows(int(run.last("step") or 0), table, ["all"], [0.5], [loss]))
    runs = read_runs([tmp_path / "runs"])
    best = [run for number, run in enumerate(runs) if number != 1]
    write_page(runs, tmp_path / "compare.html")
    page = (tmp_path / "compare.html").read_text()
    found = re.search(r"application/json\">(.*?)</script>", page, re.DOTALL)
    assert found is not None
    content = json.loads(found[1])
    assert content["left_out"] in (1, 3)
    assert sum(run["counts"] for run in content["runs"]) == 4 - content["left_out"]
    said = draw_scaling(runs, tmp_path / "scaling.png")
    assert said == (draw_scaling(best, tmp_path / "best.png") if content["left_out"] == 1 else [])


@pytest.mark.parametrize(
    ("sizes", "bear"),
    [
        ([1e6, 2e6, 4e6], True),
        ([1e6, 4e6, 4e6], False),
        ([1e6, 1.01e6, 4e6], False),
        ([1e6, 1.2e6, 1.5e6], True),
        ([1e6, 1.2e6, 1.4e6], False),
        ([], False),
    ],
)
def test_a_law_is_of_sizes_that_are_apart(sizes: list[float], bear: bool) -> None:
    assert bear_a_law(sizes) == bear


@pytest.mark.parametrize("count", [1, 10, 11, 40])
def test_runs_of_a_picture_have_colours_of_their_own(count: int) -> None:
    assert len({to_rgba(colour) for colour in colours_of(count)}) == count


def test_each_two_of_three_settings_are_drawn_and_it_says_what_is_averaged(tmp_path: Path) -> None:
    runs = []
    for x, y, z, kind in itertools.product((1, 2), (1, 2), (1, 2), ("a", "b")):
        config = {"model.x": x, "y": y, "z": z, "kind": kind}
        name = f"{x}{y}{z}{kind}"
        runs.append(Run(Path(name), name, config, [{"step": 1, "val/loss": 100 * x + 10 * y + z + (kind == "b")}]))
    of_xy, of_xz, of_yz = maps_of(runs)
    assert [(one.x, one.y) for one in (of_xy, of_xz, of_yz)] == [("model.x", "y"), ("model.x", "z"), ("y", "z")]
    assert of_xz.title == "validation loss, mean over y, kind"
    assert of_xy.losses == {(x, y): 100 * x + 10 * y + 2 for x in (1, 2) for y in (1, 2)}
    assert of_yz.losses[1, 2] == 150 + 10 + 2 + 0.5
    assert draw_heat_maps(runs, tmp_path / "map.png")


def test_settings_of_too_many_values_are_on_no_map(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    runs = [
        Run(Path(f"{n}{x}{y}"), f"{n} {x} {y}", {"many": n, "x": x, "y": y}, [{"step": 1, "val/loss": 1 + n}])
        for n, x, y in itertools.product(range(MOST_VALUES + 1), (1, 2), (1, 2))
    ]
    assert draw_heat_maps(runs, tmp_path / "map.png")
    assert Image.open(tmp_path / "map.png").width < 1000
    assert caplog.messages == ["Not on the map, which has at most 30 values a setting: many."]
    for run in runs:
        del run.config["y"]
    assert not draw_heat_maps(runs, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def drawn_by(monkeypatch: pytest.MonkeyPatch, runs: list[Run], path: Path) -> Figure:
    drawn = saved_figures(monkeypatch)
    assert draw_heat_maps(runs, path)
    return drawn[0]


def test_values_that_hardly_repeat_are_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As of a random search of more values than rows and columns would have room for."""
    runs = []
    for number in range(MOST_VALUES + 5):
        config = {"rate": 1e-4 * 1.2**number, "decay": 0.01 * number, "norm": number % 2 == 0}
        loss = math.nan if number == 7 else 1 + abs(number - 20)
        told = {key: str(value) for key, value in config.items()}
        runs.append(Run(Path(f"{number}"), f"{number}", config, [{"step": 1, "val/loss": loss}], typed=told))
    figure = drawn_by(monkeypatch, runs, tmp_path / "map.png")
    of_decay, of_norm, of_both = (axis for axis in figure.axes if axis.get_label() != "<colorbar>")
    assert caplog.messages == []
    assert [axis.get_xscale() for axis in (of_decay, of_norm, of_both)] == ["log", "log", "linear"]
    assert [axis.get_yscale() for axis in (of_decay, of_norm, of_both)] == ["linear"] * 3
    for axis in (of_decay, of_norm, of_both):
        (points,) = axis.collections
        assert len(np.asarray(points.get_offsets())) == len(runs) - 1
        assert axis.get_title().endswith("\nstar: 1, crosses: diverged")
    assert [label.get_text() for label in of_norm.get_yticklabels()] == ["false", "true"]
    places = np.asarray(of_decay.collections[0].get_offsets()).tolist()
    assert sorted(places) == [[run.config["rate"], run.config["decay"]] for run in runs if run.name != "7"]


def test_many_maps_are_in_rows_and_those_that_the_loss_goes_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    draws = random.Random(0)
    runs = []
    for number in range(40):
        config = {f"key{n}": draws.random() for n in range(7)}
        told = {key: str(value) for key, value in config.items()}
        rows = [{"step": 1, "val/loss": 2 + config["key3"] - config["key5"]}]
        runs.append(Run(Path(f"{number}"), f"{number}", config, rows, typed=told))
    figure = drawn_by(monkeypatch, runs, tmp_path / "map.png")
    axes = [axis for axis in figure.axes if axis.get_label() != "<colorbar>"]
    assert (len(axes), figure.get_size_inches().tolist()) == (12, [4 * 5.5, 3 * 4.5])
    assert {axes[0].get_xlabel(), axes[0].get_ylabel()} == {"key3", "key5"}
    assert all({axis.get_xlabel(), axis.get_ylabel()} & {"key3", "key5"} for axis in axes[:11])
    assert not any("mean over" in axis.get_title() for axis in axes), "each point is one run"
    assert caplog.messages == ["On the map are the 12 pairs of settings that the loss goes by most, 9 are not."]


def test_switches_are_called_false_and_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [
        Run(Path(f"{x}{y}"), f"{x}{y}", {"norm": x, "depth": y}, [{"step": 1, "val/loss": 1 + x + y}])
        for x, y in itertools.product((False, True), (0, 1))
    ]
    (axis,) = drawn_by(monkeypatch, runs, tmp_path / "map.png").axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ["false", "true"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["0", "1"]


@pytest.mark.parametrize(
    ("places", "scattered"),
    [
        (list(itertools.product(range(6), range(2))), False),
        ([(n, n) for n in range(3)], False),
        ([(n, n) for n in range(6)], True),
        ([(n, n % 3) for n in range(6)], True),
        ([*((n, 0) for n in range(6)), *((n, 1) for n in range(3))], False),
    ],
)
def test_a_map_is_of_points_where_most_values_come_once(places: list[tuple[float, float]], scattered: bool) -> None:
    assert Map("x", "y", [], dict.fromkeys(places, 1.0)).is_scattered == scattered


@pytest.mark.parametrize("model", [None, {"parameters": "many"}, {"parameters": None}, [], {}])
def test_a_run_that_does_not_say_how_large_its_model_is_has_no_size(tmp_path: Path, model: Any) -> None:
    row = {"step": 1, "flops": 1e9, "val/loss": 1.0}
    run = Run(tmp_path, "a", {}, [row], {"model": model})
    assert points([run], "parameters") == []
    write_page([run], tmp_path / "compare.html")
    assert '"parameters":null' in (tmp_path / "compare.html").read_text()


def test_rows_are_for_other_programs(sweep: Path) -> None:
    rows = as_rows(read_runs([sweep]))
    assert [row["run"] for row in rows] == ["1", "0"]
    assert rows[1]["best val/loss"] == 0.6
    assert rows[1]["best step"] == 2
    assert rows[0]["optimizer.learning_rate"] == 2.0
    assert not any(key.startswith("quality/") for row in rows for key in row), "no run has any"


def test_runs_that_go_on_can_be_watched(sweep: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "aaa.compare", str(sweep), "--watch"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"COLUMNS": "200", "FORCE_COLOR": "1"},
    ) as process:
        assert process.stdout is not None
        assert any("2 runs" in line for line in process.stdout)
        make_run(sweep / "2", 3.0, [0.2])
        assert any("3 runs" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=100)
    assert process.returncode == 130


def test_a_watch_ends_when_nobody_reads_it_any_more(sweep: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "aaa.compare", str(sweep), "--watch"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"FORCE_COLOR": "1"},
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=100) == 1


def test_ctrl_c_ends_the_watching_whoever_swallows_exceptions(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it may come within an import or a finalizer."""
    before = signal.getsignal(signal.SIGINT)

    def swallowing(paths: Sequence[Path]) -> list[Run]:
        with suppress(BaseException):
            os.kill(os.getpid(), signal.SIGINT)
        return read_runs(paths)

    monkeypatch.setattr("aaa.reports.runs.read_runs", swallowing)
    try:
        with pytest.raises(SystemExit, match="130"):
            watch([sweep])
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_power_law_is_found_with_its_uncertainty(tmp_path: Path) -> None:
    sizes = [1e4, 1e5, 1e6, 1e7]
    law = fit_power_law(
        sizes, [3 * size**-0.2 * wobble for size, wobble in zip(sizes, (1, 1.02, 0.98, 1), strict=True)]
    )
    assert law.low < -0.2 < law.high
    assert law.exponent == pytest.approx(-0.2, abs=0.01)
    assert law.r_squared > 0.99
    make_runs(tmp_path / "runs", [1e-3], [2, 4, 8], [1], rows=20)
    said = draw_scaling(read_runs([tmp_path / "runs"]), tmp_path / "scaling.png")
    assert [line.partition(":")[0] for line in said] == ["parameters", "training FLOPs"]
    assert Image.open(tmp_path / "scaling.png").width > 800
    assert draw_scaling(read_runs([tmp_path / "runs"])[:2], tmp_path / "none.png") == []
    assert not (tmp_path / "none.png").exists()


def test_a_law_of_parameters_is_of_runs_of_one_length(tmp_path: Path) -> None:
    """Larger models that were trained for less have a higher loss, which says nothing of size."""
    longest = {1: 1200, 2: 1200, 4: 1200, 8: 60, 16: 20}

    def said_of(steps: dict[int, int]) -> list[str]:
        runs = []
        for depth, step in steps.items():
            row = {"step": step, "samples": 32 * step, "flops": 1e9 * depth * step, "val/loss": (depth * step) ** -0.2}
            environment = {"model": {"parameters": 1000 * depth}}
            runs.append(Run(Path(f"{depth}"), f"{depth}", {"model.depth": depth}, [row], environment))
        return draw_scaling(runs, tmp_path / "scaling.png")

    of_size, of_work = said_of(longest)
    assert of_size.startswith("parameters: loss ~ x^-0.200 ")
    assert of_size.endswith(", of the 3 runs of equally many samples")
    assert of_work.startswith("training FLOPs: loss ~ x^-0.200 ")
    of_size, _ = said_of(longest | {4: 600})
    assert of_size == "parameters: no law, which takes 3 sizes among runs of equally many samples"
    of_size, _ = said_of({1: 20, 2: 20, 4: 20, 8: 1200, 16: 1200})
    assert of_size.endswith(", of the 3 runs of equally many samples"), "most of them, also where others are longer"
    of_size, _ = said_of(dict.fromkeys(longest, 20))
    assert of_size.endswith("R² 1.00")


def test_a_law_is_of_the_best_setting_of_each_size(tmp_path: Path) -> None:
    """Larger models want lower rates: with all the same ones they seem to gain nothing.

    What they are trained with may have a few parameters itself, and makes no size.
    """
    runs = []
    for place, size in enumerate((1e5, 1e6, 1e7)):
        for step, rate in enumerate((1e-4, 1e-3, 1e-2)):
            for seed in (0, 1):
                loss = size**-0.1 * (1 + (step + place - 2) ** 2 + 0.1 * seed)
                row = {"step": 1, "samples": 32, "flops": 1e9 * size, "val/loss": loss}
                config = {"model.dim": place, "optimizer.learning_rate": rate, "seed": seed}
                name = f"{size} {rate} {seed}"
                parameters = size * (1 + 0.01 * abs(step + place - 2))
                runs.append(Run(Path(name), name, config, [row], {"model": {"parameters": parameters}}))
    assert len(points(runs, "parameters")) == 18
    of_size, of_work = draw_scaling(runs, tmp_path / "scaling.png")
    for said in (of_size, of_work):
        assert re.search(r"loss ~ x\^-0\.100 \[.*\], R² 1\.00, lowest mean loss of each size$", said)


ODD_NAMES = ["run [v2]", "[red]x[/red]", "$5 and $", "_hidden", "ünï 图片 (1)", "a\x1b[31mb", "100% %s"]


@pytest.fixture
def oddly_named(tmp_path: Path) -> Path:
    for number, name in enumerate(ODD_NAMES):
        make_run(tmp_path / "runs" / name, 1e-3 * (number + 1), [0.3, 0.2])
    return tmp_path / "runs"


def test_names_are_shown_as_they_are(oddly_named: Path, tmp_path: Path) -> None:
    shown = Console(file=(out := io.StringIO()), width=300)
    shown.print(comparison(read_runs([oddly_named])))
    for name in ODD_NAMES:
        assert name.replace("\x1b", "") in out.getvalue()
    assert "\x1b" not in out.getvalue()
    draw_curves(read_runs([oddly_named]), tmp_path / "curves.png")


def test_texts_are_shown_as_they_were_given(tmp_path: Path) -> None:
    for number, template in enumerate([r"a photo of \${x}", "a photo"]):
        make_run(tmp_path / str(number), 1e-3, [0.3, 0.2])
        with (tmp_path / str(number) / "config.yaml").open("a") as config:
            config.write(f"encoder: {{text_encoder: {{template: '{template}'}}}}\n")
    runs = read_runs([tmp_path])
    assert differing_keys(runs) == ["encoder.text_encoder.template"]
    assert {row["encoder.text_encoder.template"] for row in as_rows(runs)} == {"a photo of ${x}", "a photo"}


def test_a_terminal_that_is_not_utf_8_gets_its_table(oddly_named: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "aaa.compare", str(oddly_named)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
        capture_output=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert b"run [v2]" in done.stdout
    assert b"Traceback" not in done.stderr
