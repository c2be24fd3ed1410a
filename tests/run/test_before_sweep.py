"""Sweeps that cannot come to anything are refused before anything is written."""

from pathlib import Path

import pytest

from tests.e2e.conftest import fork_in


def written(folder: Path) -> list[str]:
    """What a command has left besides what it said."""
    return [path.name for path in folder.iterdir() if not path.name.startswith((".out", ".err", "peak_gib"))]


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_sweep_of_several_processes_is_refused(tmp_path: Path, rank: str) -> None:
    launch = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    done = fork_in(tmp_path, "aaa.train", "-m", "seed=0,1", **launch)
    assert "-m: several processes were launched" in done.error
    assert written(tmp_path) == []


def test_a_search_is_not_planned(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    done = fork_in(tmp_path, "aaa.plan", "-m", "sweep=optuna", "optimizer.learning_rate=interval(1e-4,1e-2)")
    assert "a search finds its runs on its way" in done.error
    assert done.out == ""
    assert written(tmp_path) == []
