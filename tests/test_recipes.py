"""The recipes' page says what its numbers say."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[1] / "experiments" / "recipes"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"recipes_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_table_is_that_of_the_runs() -> None:
    table = script("table")
    by_recipe = table.read(table.RUNS)
    assert set(by_recipe) == {"ours", "prx", "minit2i", "speedrundit", "tutorial"}
    assert all(len({row["seed"] for row in rows}) == 3 for rows in by_recipe.values())
    assert table.table(by_recipe) in (FOLDER / "README.md").read_text()


def test_the_picture_is_drawn_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = script("table")
    monkeypatch.setattr(table, "PICTURE", tmp_path / "recipes.png")
    monkeypatch.setattr(sys, "argv", ["table.py"])
    table.main()
    assert (tmp_path / "recipes.png").stat().st_size > 10_000
