"""Numbers along logarithmic axes."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TWICE, DECADE, MANY = 2.0, 10.0, 1000.0  # how many times as large the last number of an axis is as its first
WITHIN_A_DECADE = (1, 1.5, 2, 3, 5, 7)


def plain_ticks(panel: "Axes", *along: str) -> None:
    """Write 0.2, 0.5, 1 along these axes, where matplotlib would write `2 x 10^-1`, and less far apart on short ones.

    Args:
        panel: in which all is drawn.
        along: `x`, `y`.
    """
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

    for name in along:
        axis = getattr(panel, f"{name}axis")
        low, high = axis.get_view_interval()
        if high < TWICE * low:
            axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        elif high < DECADE * low:
            axis.set_major_locator(LogLocator(subs=WITHIN_A_DECADE))
        else:
            axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < MANY * low else (1,)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(StrMethodFormatter("{x:.6g}"))
