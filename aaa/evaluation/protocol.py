"""What an evaluation is: it looks at what a model draws, beside the data, and gives numbers."""

from typing import Protocol

from aaa.evaluation.evaluated_model import EvaluatedModel


class Evaluation(Protocol):
    """A judgement of a model; named by `_target_` in conf/evaluation.

    One that cannot judge every data set may have a method `check(evaluated)` as well, which is called before training
    and raises NotApplicable where `evaluate` would.

    In a launch of several processes each calls `evaluate`, which must draw the same in each; what counts is what it
    returns and keeps in the first.
    """

    def evaluate(self, evaluated: EvaluatedModel) -> dict[str, float]:
        """Metrics by name.

        Raises:
            NotApplicable: if there is nothing here that it could judge.
        """
        ...


class NotApplicable(Exception):  # noqa: N818 - no error: the data is just of another kind
    """Why an evaluation has nothing to say of this model and data."""


def check(evaluation: Evaluation, evaluated: EvaluatedModel) -> None:
    """Let an evaluation say beforehand, without drawing anything, that it will have nothing to say.

    Raises:
        NotApplicable: if so.
    """
    if (own := getattr(evaluation, "check", None)) is not None:
        own(evaluated)
