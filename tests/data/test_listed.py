"""Many problems in few lines."""

import re

from hypothesis import given
from hypothesis import strategies as st

from aaa.data.listed import LINES, listed


def test_what_is_wrong_in_many_places_is_said_once() -> None:
    problems = [f"metadata.csv:{line}: more fields than columns" for line in range(2, 42)]
    problems[7:7] = ["metadata.csv:50: no prompt", "0.png: is cut short: it ends in zeros"]
    assert listed(problems).split("\n  ") == [
        "metadata.csv:2, metadata.csv:3, metadata.csv:4 and 37 more: more fields than columns",
        "metadata.csv:50: no prompt",
        "0.png: is cut short: it ends in zeros",
    ]


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 9)), max_size=90))
def test_every_problem_is_told_or_counted(drawn: list[tuple[str, int]]) -> None:
    reasons = {f"{place}.png": f"{letter}{number}" for place, (letter, number) in enumerate(drawn)}
    lines = listed([f"{place}: is {reason}" for place, reason in reasons.items()]).split("\n  ")
    named = sum(len(re.findall(r"\d+\.png", line)) for line in lines)
    counted = sum(int(number) for line in lines for number in re.findall(r"and (\d+) more", line))
    assert named + counted == len(reasons)
    assert len(lines) <= LINES + 1


def test_a_problem_without_a_place_is_told() -> None:
    assert listed(["broken", "0.png: is empty"]) == "broken\n  0.png: is empty"
