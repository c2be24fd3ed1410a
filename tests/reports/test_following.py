"""Keys that follow from others are no columns: nobody chose them."""

from pathlib import Path

import pytest

from aaa.reports.following import COMPOSED, chosen_keys
from aaa.reports.page import _content
from aaa.reports.runs import read_runs
from aaa.reports.table import comparison
from tests.helpers.made_up_runs import make_trial

BLOCK = "objective.terms.align.after_block"


def composed(run: Path, after_block: str) -> None:
    text = f"objective:\n  terms:\n    align:\n      after_block: {after_block}\n"
    (run / COMPOSED).write_text(text, encoding="utf-8")


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    for number, depth in enumerate((2, 4, 8)):
        told = {"model.depth": depth, "optimizer.learning_rate": 1e-3}
        make_trial(tmp_path / f"{number}", told, 1 + number, follows={BLOCK: depth // 3 + 1})
        composed(tmp_path / f"{number}", "${third_of:${model.depth}}")
    return tmp_path


def test_what_follows_from_another_key_is_no_column(sweep: Path) -> None:
    runs = read_runs([sweep])
    assert chosen_keys(runs) == ["model.depth"]
    assert BLOCK not in [column.header for column in comparison(runs).columns]
    assert _content(runs)["keys"] == ["model.depth"]


@pytest.mark.parametrize("how", ["typed", "written otherwise", "a value", "not known"])
def test_what_may_have_been_chosen_is_one(sweep: Path, how: str) -> None:
    run = sweep / "1"
    if how == "typed":
        overrides = run / ".hydra" / "overrides.yaml"
        overrides.write_text(overrides.read_text() + f"- {BLOCK}=2\n")
    elif how == "not known":
        (run / COMPOSED).unlink()
    else:
        composed(run, "${half_of:${model.depth}}" if how == "written otherwise" else "2")
    assert BLOCK in chosen_keys(read_runs([sweep]))
