"""What an evaluation is: it looks at what a model draws, beside the data, and gives numbers."""

from typing import Protocol

from aaa.evaluation.studio import Studio


class Evaluation(Protocol):
    """A judgement of a model; named by `_target_` in conf/evaluation."""

    def evaluate(self, studio: Studio) -> dict[str, float]:
        """Metrics by name.

        Raises:
            NotApplicable: if there is nothing here that it could judge.
        """
        ...


class NotApplicable(Exception):  # noqa: N818 - no error: the data is just of another kind
    """Why an evaluation has nothing to say of this model and data."""
