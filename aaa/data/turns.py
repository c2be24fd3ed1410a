"""Who is next, where several take turns as often as weights say: by formula for any place, with no draws.

The chairman assignment problem (Tijdeman 1980, Discrete Mathematics 32): member i of a union of k, with a share s_i of
all turns, is to have had N_i(t) of the first t so that |N_i(t) - s_i t| is small at every t. Of those that
s_i t - N_i(t - 1) >= 1 / (2k - 2) holds of, the one takes turn t whose claim runs out first, the least
(1 - 1 / (2k - 2) + N_i(t - 1)) / s_i. Then |N_i(t) - s_i t| <= 1 - 1 / (2k - 2), for any shares and at every t, and no
rule does better for all shares. With whole weights the turns repeat once each has had as many as its weight.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor

LONGEST = 2**14  # turns of a cycle: shares are met to a ten-thousandth, which no run can tell


class Turns:
    """Turns of some members.

    Args:
        weights: of each, how often it is next relative to the others; 0: never. What no cycle of `LONGEST` turns can
            have exactly is rounded, and whoever has a weight has a turn.
        first: turn of the cycle that is the first one.

    Attributes:
        counts: of turns in a cycle, for each member.

    Raises:
        ValueError: if nobody has a weight.
    """

    def __init__(self, weights: Sequence[Fraction], first: int = 0) -> None:
        self.counts = _whole(weights)
        who = torch.tensor(_cycle(self.counts))
        who = who.roll(-(first % len(who)))
        self._who = who
        self._nth = torch.empty_like(who)
        for member in range(len(weights)):
            turns = who == member
            self._nth[turns] = torch.arange(int(turns.sum()))

    def __getitem__(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Whose turn each is, and how many it has had before, `B` int64 each.

        Args:
            places: from 0, `B` int64.
        """
        cycle, place = places // len(self._who), places % len(self._who)
        who = self._who[place]
        return who, cycle * torch.tensor(self.counts)[who] + self._nth[place]


def _whole(weights: Sequence[Fraction]) -> list[int]:
    """Whole numbers in these proportions, the smallest there are."""
    if not sum(weights) > 0:
        raise ValueError("nobody has a weight")
    scale = math.lcm(*(weight.denominator for weight in weights))
    whole = [int(weight * scale) for weight in weights]
    if (total := sum(whole) // math.gcd(*whole)) > LONGEST:
        whole = [max(1, round(Fraction(number * LONGEST, sum(whole)))) if number else 0 for number in whole]
        total = sum(whole) // math.gcd(*whole)
    return [number * total // sum(whole) for number in whole]


def _cycle(counts: Sequence[int]) -> list[int]:
    """Members in the order of their turns."""
    members = [member for member, count in enumerate(counts) if count]
    if len(members) == 1:
        return members
    total, margin = sum(counts), 2 * len(members) - 2
    had = dict.fromkeys(members, 0)
    cycle = []
    for turn in range(1, total + 1):
        # Both sides are multiplied by total and by margin, so that all numbers are whole.
        claiming = [m for m in members if margin * (counts[m] * turn - had[m] * total) >= total]
        following = min(claiming, key=lambda m: (Fraction(margin - 1 + margin * had[m], counts[m]), m))
        had[following] += 1
        cycle.append(following)
    return cycle
