"""The recipes' page says what its numbers say."""

import sys
from pathlib import Path

import pytest

from tests.helpers.scripts import load_script

FOLDER = Path(__file__).parents[1] / "experiments" / "recipes"


@pytest.mark.parametrize("equal", ["seconds", "flops"])
def test_the_table_is_that_of_the_runs(equal: str) -> None:
    table = load_script("recipes", "table")
    by_recipe = table.read(table.RUNS, equal)
    assert set(by_recipe) == {"ours", "prx", "minit2i", "speedrundit", "tutorial"}
    assert all(len({row["seed"] for row in rows}) == 3 for rows in by_recipe.values())
    assert table.table(by_recipe) in (FOLDER / "README.md").read_text()


def test_the_table_of_emoji_is_that_of_its_runs() -> None:
    emoji = load_script("recipes", "emoji")
    told = [*emoji.lines(emoji.read())]
    assert len(told) == 2 + 11
    assert "\n".join(told) in (FOLDER / "README.md").read_text()


def test_the_table_of_other_blocks_is_that_of_its_runs() -> None:
    told = [*load_script("recipes", "emoji").lines_of_blocks()]
    assert len(told) == 2 + 5
    assert "\n".join(told) in (FOLDER.parents[1] / "docs" / "emoji.md").read_text()


def test_the_picture_is_drawn_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = load_script("recipes", "table")
    monkeypatch.setattr(table, "PICTURE", tmp_path / "recipes.png")
    monkeypatch.setattr(sys, "argv", ["table.py"])
    table.main()
    assert (tmp_path / "recipes.png").stat().st_size > 10_000
