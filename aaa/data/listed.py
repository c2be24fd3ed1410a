"""Many problems told in few lines."""

from collections.abc import Sequence

LINES = 20
ALIKE = 3  # places that are named of more that have the same problem


def listed(problems: Sequence[str]) -> str:
    """Problems, `PLACE: what is wrong` each, line by line; what is wrong in many places is said once."""
    places: dict[str, list[str]] = {}
    for problem in problems:
        place, _, reason = problem.partition(": ")
        places.setdefault(reason or problem, []).append(place)
    lines: list[str] = []
    untold = 0
    for reason, alike in places.items():
        told = [f"{place}: {reason}" if place != reason else reason for place in alike]
        if len(alike) > ALIKE:
            told = [f"{', '.join(alike[:ALIKE])} and {len(alike) - ALIKE} more: {reason}"]
        if len(lines) + len(told) > LINES:
            untold += len(alike)
        else:
            lines += told
    return "\n  ".join([*lines, *([f"... and {untold} more"] if untold else [])])
