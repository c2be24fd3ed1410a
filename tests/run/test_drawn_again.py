"""The values that a search at random draws when it goes on."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from aaa.tracking.recorded_overrides import OVERRIDES


def draws(sampler: Any, trials: int) -> list[dict[str, Any]]:
    """The values of so many trials, in a study that has had others before."""
    optuna = pytest.importorskip("optuna")
    study = optuna.create_study(sampler=sampler)
    study.tell(study.ask(), 1.0)
    asked = [study.ask() for _ in range(trials)]  # by a sweep of several at once
    for trial in asked:
        trial.suggest_float("optimizer.learning_rate", 1e-4, 1e-2, log=True)
        trial.suggest_int("+model.depth", 1, 100)
        trial.suggest_categorical("model.mlp_ratio", ["1", "2", "3"])
    return [trial.params for trial in asked]


def begin(sweep: Path, number: int, drawn: dict[str, Any]) -> None:
    """What a run leaves in its folder when it is begun."""
    (sweep / str(number) / OVERRIDES).parent.mkdir(parents=True)
    told = [*(f"{key}={value}" for key, value in drawn.items()), "sweep=random", "name=a=b"]
    (sweep / str(number) / OVERRIDES).write_text(yaml.safe_dump(told))


@pytest.mark.parametrize("seed", [None, 3])
def test_runs_that_were_begun_get_what_they_had_and_the_rest_new_values(tmp_path: Path, seed: int | None) -> None:
    optuna = pytest.importorskip("optuna")
    from aaa.run.drawn_again import DrawnAgain

    before = draws(optuna.samplers.RandomSampler(seed), 4)
    for number in (0, 2):  # the one between was not begun yet
        begin(tmp_path, number, before[number])
    again = draws(DrawnAgain(str(tmp_path), seed), 4)
    assert (again[0], again[2]) == (before[0], before[2])
    assert (again == before) == (seed is not None), "with a seed, as if it had never stopped"
