"""Our own commands as measured."""

from pathlib import Path

import pytest

from aaa.benchmarks.commands import in_folder, measure


def test_paths_mean_what_they_mean_to_who_typed_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    measured = measure(tmp_path / "apart", "-c", "import os; print(os.getcwd())")
    assert measured.output.strip() == str(Path.cwd())
    assert list(tmp_path.iterdir()) == [tmp_path / "apart"]


def test_what_a_run_leaves_lies_in_the_folder(tmp_path: Path) -> None:
    shown = measure(tmp_path, "-m", "aaa.train", *in_folder(tmp_path), "name=run", "--cfg", "hydra").output
    assert f"dir: {tmp_path}/outputs/run/" in shown.replace("${name}", "run")
