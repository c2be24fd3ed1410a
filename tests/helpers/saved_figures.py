"""The figures that are drawn while a test looks, with what is in them."""

from typing import Any

import pytest
from matplotlib.figure import Figure


def saved_figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """A list that every figure is added to once it is saved."""
    figures: list[Figure] = []
    save = Figure.savefig

    def looked_at(figure: Figure, *where: Any, **how: Any) -> None:
        figures.append(figure)
        save(figure, *where, **how)

    monkeypatch.setattr(Figure, "savefig", looked_at)
    return figures
