"""What an evaluation is: it looks at what a model draws, beside the data, and gives numbers."""

import reprlib
from collections.abc import Mapping
from numbers import Real
from typing import Protocol

import numpy as np
from torch import Tensor

from aaa.data.records import Split
from aaa.errors import UserError
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


def require_held_out(evaluated: EvaluatedModel, wanted: Split | None, least: int, what: str) -> None:
    """Refuse to judge by held-out records where that is asked for and there are too few.

    Args:
        evaluated: has the records.
        wanted: what `evaluation.split` says.
        least: how many are enough.
        what: takes so many.

    Raises:
        UserError: if there are fewer.
        NotApplicable: the same of one part of a mixture, as another may have enough.
    """
    if wanted == "validation" and (count := len(evaluated.records["validation"])) < least:
        data = "data" if evaluated.part_name is None else f"data.parts.{evaluated.part_name}"
        told = (
            f"evaluation.split=validation: of the records {count} are held out, and {what} takes {least} at least. A "
            f"run holds out more by {data}.validation_fraction=N; evaluation.split=train judges by what is trained on."
        )
        raise UserError(told) if evaluated.part_name is None else NotApplicable(told)


class NotApplicable(Exception):  # noqa: N818 - no error: the data is just of another kind
    """Why an evaluation has nothing to say of this model and data."""


def check(evaluation: Evaluation, evaluated: EvaluatedModel) -> None:
    """Let an evaluation say beforehand, without drawing anything, that it will have nothing to say.

    Raises:
        NotApplicable: if so.
    """
    if (own := getattr(evaluation, "check", None)) is not None:
        own(evaluated)


def judged(evaluation: Evaluation, evaluated: EvaluatedModel) -> dict[str, float]:
    """Metrics of an evaluation, which may give tensors and numpy's numbers of one element too.

    Raises:
        NotApplicable: if there is nothing here that it could judge.
        UserError: if what it gives is anything else.
    """
    found: object = evaluation.evaluate(evaluated)
    name = type(evaluation).__name__
    if not isinstance(found, Mapping) or not all(isinstance(metric, str) for metric in found):
        raise UserError(
            f"evaluation: {name}.evaluate gives {reprlib.repr(found)}, and has to give a dict of names to numbers, "
            'such as {"quality/mine": 1.5}.'
        )
    return {metric: _number(value, f"evaluation: {name} gives {metric}") for metric, value in found.items()}


def _number(value: object, given: str) -> float:
    number = value
    if isinstance(value, np.generic) or (isinstance(value, Tensor | np.ndarray) and value.shape.count(1) == value.ndim):
        number = value.item()
    if not isinstance(number, Real):
        raise UserError(f"{given}={reprlib.repr(value)}, which is no number.")
    return float(number)
