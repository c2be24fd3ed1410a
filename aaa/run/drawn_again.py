"""The random values of a search that goes on: first those of the runs that it has had, then new ones."""

from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from aaa.tracking.recorded_overrides import overrides_of_run


class DrawnAgain(RandomSampler):
    """Draws at random, but for runs that there are already what they were begun with.

    With a seed the new ones are those that the search would have drawn if it had never stopped.

    Args:
        sweep: folder of the search, in which runs lie by their numbers.
        seed: of the values.
    """

    def __init__(self, sweep: str, seed: int | None = None) -> None:
        super().__init__(seed)
        self._sweep = Path(sweep)
        self._numbers: dict[int, int] = {}  # of a run by that of its trial: the study may contain earlier trials

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A value for one parameter of a trial."""
        new = super().sample_independent(study, trial, param_name, param_distribution)
        number = self._numbers.setdefault(trial.number, len(self._numbers))
        begun = overrides_of_run(self._sweep / str(number)) or ()
        told = next((said.partition("=")[2] for said in begun if said.startswith(f"{param_name}=")), None)
        return new if told is None else _as_drawn(told, new, param_distribution)


def _as_drawn(told: str, new: Any, distribution: BaseDistribution) -> Any:
    """A value as Optuna gave it to the run that was begun with it."""
    if isinstance(distribution, CategoricalDistribution):
        return next((choice for choice in distribution.choices if str(choice) == told), new)
    return type(new)(told)
