"""Work of different sizes shared out over processes, so that none has much more to do than another."""

from collections.abc import Sequence


def even_shares(costs: Sequence[int], processes: int) -> list[int]:
    """A process for each piece of work: the dearest first, always to the one that has least to do (Graham 1969).

    Args:
        costs: of the pieces.
        processes: how many there are; each comes to the same answer.
    """
    loads = [0] * processes
    shares = [0] * len(costs)
    for index in sorted(range(len(costs)), key=lambda index: -costs[index]):
        shares[index] = loads.index(min(loads))
        loads[shares[index]] += costs[index]
    return shares
