"""Turns by weight: as near to the shares as can be after any number of them, from anywhere on."""

from fractions import Fraction

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aaa.data import turns as turns_module
from aaa.data.turns import Turns

WEIGHTS = st.lists(st.fractions(0, 20, max_denominator=6), min_size=1, max_size=6).filter(lambda some: sum(some) > 0)


@settings(max_examples=40)
@given(weights=WEIGHTS)
@example(weights=[Fraction(3), Fraction(1)])
@example(weights=[Fraction(1, 3)] * 3 + [Fraction(0)])
@example(weights=[Fraction(1), Fraction(9), Fraction(1), Fraction(2)])
def test_after_any_number_of_turns_nobody_is_a_whole_turn_off(weights: list[Fraction]) -> None:
    """By Tijdeman's bound, which no rule does better than."""
    members = sum(weight > 0 for weight in weights)
    margin = max(2 * members - 2, 1)
    turns = Turns(weights)
    total = min(2 * sum(turns.counts), 1000)
    who, _ = turns[torch.arange(total)]
    for member, weight in enumerate(weights):
        had, share = (who == member).cumsum(0), weight / sum(weights)
        off = (had * share.denominator - share.numerator * torch.arange(1, total + 1)).abs()
        assert (margin * off <= (margin - 1) * share.denominator).all(), f"member {member}"


@settings(max_examples=40)
@given(weights=WEIGHTS, start=st.integers(0, 10**12), first=st.integers(0, 100))
def test_the_turns_of_each_are_counted_without_a_gap_from_anywhere(
    weights: list[Fraction], start: int, first: int
) -> None:
    turns = Turns(weights, first)
    who, nth = turns[start + torch.arange(500)]
    for member in who.unique().tolist():
        own = nth[who == member]
        assert torch.equal(own, own[0] + torch.arange(len(own)))
        # What came before is its share of all turns before, within one.
        assert abs(int(own[0]) - turns.counts[member] / sum(turns.counts) * start) < 2 + start * 1e-15
    at_once = turns[torch.tensor([start + 7])]
    assert (int(at_once[0]), int(at_once[1])) == (int(who[7]), int(nth[7]))


def test_three_to_one_is_three_of_four() -> None:
    who, nth = Turns([Fraction(3), Fraction(1)])[torch.arange(8)]
    assert sorted(who[:4].tolist()) == sorted(who[4:].tolist()) == [0, 0, 0, 1]
    assert nth[who == 0].tolist() == list(range(6))


def test_a_cycle_may_begin_at_any_of_its_turns() -> None:
    weights = [Fraction(3), Fraction(1), Fraction(2)]
    plain, later = (Turns(weights, first)[torch.arange(first, 12) - first][0] for first in (0, 2))
    assert later.tolist() == plain[2:].tolist() != plain[:-2].tolist()


def test_shares_that_no_cycle_has_are_nearly_met_and_the_smallest_has_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns_module, "LONGEST", 1000)
    turns = Turns([Fraction("0.31415926"), Fraction("0.6858"), Fraction("0.00004074"), Fraction(0)])
    assert sum(turns.counts) <= 1001
    assert turns.counts == [314, 686, 1, 0]


def test_without_any_weight_there_are_no_turns() -> None:
    with pytest.raises(ValueError, match="nobody"):
        Turns([Fraction(0)])
