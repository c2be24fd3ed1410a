"""Tables on terminals of any width: numbers are whole or not there, and what is not there is named."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from aaa.evaluation.reference import kind_of
from aaa.reports.labels import common_beginning
from aaa.reports.outcomes import compared
from aaa.reports.page import _content
from aaa.reports.paired import fold_seeds
from aaa.reports.runs import Run, read_runs
from aaa.reports.table import as_rows, comparison, verdicts
from tests.reports import test_paired

STARTED = "2026-11-30_10-"


def run_of(number: int) -> Run:
    config = {"model.depth": number + 1, "optimizer.learning_rate": 0.0125 / (number + 1), "sampling.steps": number}
    row = {"step": 1200, "samples": 38400, "seconds": 61.25, "train/loss": 0.5123 + number, "val/loss": 0.4123 + number}
    name = f"{STARTED}00-0{number}/{number}"
    return Run(Path(name), name, config, [row | {"quality/seen": 0.9125, "quality/held_out": 0.8125}])


@pytest.fixture
def runs() -> list[Run]:
    return [run_of(number) for number in range(4)]


def text_of(table: Table | None, width: int) -> str:
    assert table is not None
    console = Console(file=(out := io.StringIO()), width=width)
    console.print(table)
    return out.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_terminal_has_the_columns_that_fit_and_names_the_others(runs: list[Run], width: int) -> None:
    text = text_of(comparison(runs, width), width)
    assert "…" not in text
    lines = text.splitlines()
    assert all(len(line) <= width for line in lines)
    rows = [line for line in lines if line.startswith("│")]
    assert len(rows) == len(runs), "a line a run"
    assert [row.split("│")[2].strip() for row in rows] == ["0.4123", "1.4123", "2.4123", "3.4123"]
    shown = {column.header for column in comparison(runs, width).columns}
    every = {column.header for column in comparison(runs, 130).columns}  # wide enough for all, by their short names
    told = " ".join(text.split())
    assert ("no room for: " in told) == (shown < every)
    assert all(str(title) in told for title in every - shown)
    assert ("seen, held out: right pictures" in told) == ("seen" in shown)


def test_what_came_out_and_what_differs_come_first(runs: list[Run]) -> None:
    first = ["run", "val loss", "seen", "held out"]
    keys, rest = ["model.depth", "optimizer.learning_rate", "sampling.steps"], ["seconds", "train loss", "best"]
    assert [column.header for column in comparison(runs).columns] == [*first, *keys, "steps", *rest]
    narrow = [column.header for column in comparison(runs, 80).columns]
    assert narrow == [*first, "depth", "learning_rate", "steps"], "sampling.steps does not fit, nor what follows"


def test_what_came_out_of_each_part_of_a_mixture_is_shown() -> None:
    rows = {
        "val/loss": 0.5,
        "val/loss/emoji": 0.25,
        "val/loss/emoji_standard_error": 0.125,
        "val/loss_relative/dots": 2,
    }
    judged = {"quality/seen/dots": 0.75, "quality/right_held_out/emoji": 0.0625, "quality/right_held_out_top5/emoji": 1}
    config = {"data.parts.dots.weight": 1.0, "data.parts.emoji.weight": 2.0, "data.parts.emoji.name": "emoji"}
    mixed = Run(Path("mixed"), "mixed", config, [{"step": 3} | rows | judged])
    other = Run(Path("other"), "other", {}, [{"step": 3, "val/loss": 0.75}])
    columns = {str(column.header): list(column.cells) for column in comparison([mixed, other]).columns}
    of_parts = {title: [str(cell) for cell in cells] for title, cells in columns.items() if "(" in title}
    assert of_parts == {
        "val loss (emoji)": ["0.25", "-"],
        "seen (dots)": ["0.75", "-"],
        "held out (emoji)": ["0.0625", "-"],
    }
    assert "seen, held out: right pictures" in text_of(comparison([mixed, other]), 200)
    assert as_rows([mixed, other])[0]["quality/right_held_out/emoji"] == 0.0625
    assert "quality/seen/dots" in _content([mixed, other])["compared"]


@pytest.mark.parametrize(("count", "shown"), [(3, 3), (4, 0)])
def test_metrics_of_ones_own_are_shown_while_they_are_few(runs: list[Run], count: int, shown: int) -> None:
    own = {f"quality/own{number}": 10.0 + number for number in range(count)}
    details = {"quality/own0_standard_error": 0.5, "quality/seen_colour": 0.25}
    runs[1].metrics[:] = [{"step": 1, "quality/own0": 1.0}, *runs[1].metrics]
    runs[2].metrics[0] |= own | details
    table = comparison(runs)
    titles = [str(column.header) for column in table.columns]
    assert titles[4 : 4 + shown] == [metric.removeprefix("quality/") for metric in own][:shown]
    assert f"{count + 2 - shown} more metrics of pictures: see --json and --csv" in str(table.caption)
    rows = as_rows(runs)
    assert [rows[1]["quality/own0"], rows[2]["quality/own0"]] == [1.0, 10.0], "of each run the last"
    assert rows[0]["quality/own0"] is None
    assert {metric: rows[2][metric] for metric in own | details} == own | details


def test_a_fid_of_other_pictures_has_a_column_of_its_own() -> None:
    """Also beside one with a name that it begins with, whose detail it is not."""
    runs = [run_of(0), run_of(1)]
    runs[0].metrics.append({"step": 2, "quality/fid": 12.0})
    runs[1].metrics.append({"step": 2, f"quality/fid{kind_of('validation', 'train', 'original')}": 15.0})
    assert [title for title in compared(runs).values() if "fid" in title] == ["fid", "fid-validation-original"]
    assert [row["quality/fid"] for row in as_rows(runs)] == [12.0, None]


def test_metrics_of_pictures_compared_otherwise_or_of_parts_take_no_room_from_others() -> None:
    """All of evaluation=pretrained, in two ways, and of a part that is trained on and one that is not."""
    kind, errors = kind_of("train", "train", "original"), "_standard_error"
    of_file = kind_of("validation", "train", "coco_val-1a2b3c4d")
    usual = {"quality/clip_score": 20.0, "quality/fid": 12.0, "quality/kid": 0.5, f"quality/kid{errors}": 0.25}
    other = {"quality/clip_score_real-original": 21.0, f"quality/fid{kind}": 9.0, f"quality/kid{kind}": 0.5}
    runs = [Run(Path("a"), "a", {}, [usual]), Run(Path("b"), "b", {}, [other, {f"quality/fid{of_file}": 3.0}])]
    both = ["clip_score", "fid", "kid", "fid-original", "kid-original", "fid-validation-coco_val-1a2b3c4d"]
    assert list(compared(runs).values()) == both
    of_parts = {
        "quality/clip_score/seen": 1.0,
        "quality/clip_score_real/seen": 1.0,
        "quality/fid/seen": 1.0,
        "quality/kid/seen": 1.0,
        f"quality/kid/seen{errors}": 1.0,
        "quality/fid-validation/zero": 1.0,
        "quality/kid-validation/zero": 1.0,
        f"quality/kid-validation/zero{errors}": 1.0,
    }
    config = {f"data.parts.{part}.weight": 1.0 for part in ("seen", "zero")}
    shown = ["clip_score/seen", "fid/seen", "kid/seen", "fid-validation/zero", "kid-validation/zero"]
    assert list(compared([Run(Path("m"), "m", config, [of_parts])]).values()) == shown
    own = {f"quality/iou-{name}": 1.0 for name in ("cat", "dog", "cow", "hen")}
    assert not compared([Run(Path("o"), "o", {}, [own])]), "these are four metrics of one's own, not kinds of one"


def test_names_are_cut_where_all_are_alike_if_there_is_no_room(runs: list[Run]) -> None:
    assert runs[0].name in text_of(comparison(runs), 200)
    narrow = text_of(comparison(runs, 80), 80)
    assert runs[0].name not in narrow
    assert "│ 10-00-00/0 │" in narrow
    assert "runs: 2026-11-30_..." in narrow


@pytest.mark.parametrize(
    ("names", "beginning"),
    [(["a_b/1", "a_b/2"], "a_b/"), (["a_b1", "a_b2"], "a_"), (["ab", "ac"], ""), (["a_b"], ""), ([], "")],
)
def test_what_all_names_begin_with(names: list[str], beginning: str) -> None:
    assert common_beginning(names) == beginning


def test_no_legend_is_of_columns_that_are_not_there(runs: list[Run]) -> None:
    for run in runs:
        del run.metrics[0]["quality/seen"], run.metrics[0]["quality/held_out"]
    assert "right pictures" not in text_of(comparison(runs), 200)


@pytest.mark.parametrize("width", [80, 200])
def test_no_interval_is_broken(tmp_path: Path, width: int) -> None:
    for rate in (1e-3, 2e-3, 5e-3):
        test_paired.make_run(tmp_path / f"{rate}", rate, 0, shift=100 * rate)
    runs = read_runs([tmp_path])
    text = text_of(verdicts(runs, width=width), width)
    assert all(len(line) <= width for line in text.splitlines())
    assert len(re.findall(r"\[\+0\.\d{4}, \+0\.\d{4}\]", text)) == len(fold_seeds(runs)) - 1
