"""Colours of runs in a picture."""

from typing import Any

DEFAULT = 10  # that matplotlib has before they come again


def colours_of(count: int) -> list[Any]:
    """So many colours, no two of them the same, as matplotlib takes them."""
    import matplotlib as mpl

    if count <= DEFAULT:
        return [f"C{number}" for number in range(count)]
    return list(mpl.colormaps["turbo"].resampled(count)(range(count)))
