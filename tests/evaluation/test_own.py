"""What an evaluation of one's own gives, by itself and beside others."""

import re
from typing import Any

import numpy as np
import pytest
import torch

from aaa.errors import UserError
from aaa.evaluation.each_part import EachPart
from aaa.evaluation.protocol import judged
from aaa.evaluation.several import Several
from tests.evaluation.test_mixed import Evaluated, records


class Mine:
    def __init__(self, found: Any) -> None:
        self.found = found

    def evaluate(self, _evaluated: object) -> Any:
        return self.found


@pytest.mark.parametrize(
    "value", [1.5, torch.tensor(1.5), torch.tensor([[1.5]]), np.float32(1.5), np.float64(1.5), np.array([1.5])]
)
def test_numbers_of_any_kind_are_taken_as_float(value: Any) -> None:
    evaluated: Any = Evaluated()
    for evaluation in (Mine({"quality/x": value}), Several({"mine": Mine({"quality/x": value})})):
        found = judged(evaluation, evaluated)
        assert found == {"quality/x": 1.5}
        assert {type(number) for number in found.values()} == {float}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"quality/x": "good"}, "evaluation: Mine gives quality/x='good', which is no number."),
        ({"quality/x": None}, "evaluation: Mine gives quality/x=None, which is no number."),
        ({"quality/x": torch.ones(2)}, "evaluation: Mine gives quality/x=tensor([1., 1.]), which is no number."),
        ({"quality/x": np.ones((1, 2))}, "evaluation: Mine gives quality/x=array([[1., 1.]]), which is no number."),
        (None, "evaluation: Mine.evaluate gives None, and has to give a dict of names to numbers"),
        ([1.0], "evaluation: Mine.evaluate gives [1.0], and has to give a dict of names to numbers"),
        ({1: 1.0}, "evaluation: Mine.evaluate gives {1: 1.0}, and has to give a dict of names to numbers"),
    ],
)
def test_what_is_no_number_is_said_with_the_name_of_whose_it_is(found: Any, said: str) -> None:
    mine, evaluated, spans = Mine(found), Evaluated(), {"a": range(1)}
    for evaluation in (mine, Several({"mine": mine}), EachPart(mine, {"a": records(1)}, spans)):
        with pytest.raises(UserError, match=re.escape(said)):
            judged(evaluation, evaluated)  # type: ignore[arg-type]
