"""What an evaluation is: it asks for pictures of records' prompts and gives numbers."""

from collections.abc import Sequence
from typing import Protocol

from PIL import Image

from aaa.data.records import Split


class DrawRecords(Protocol):
    """Draws pictures with the model as it is sampled by default."""

    def __call__(self, split: Split, count: int) -> tuple[Sequence[str], Sequence[Image.Image]]:
        """Prompts of up to `count` records of the split, and a picture drawn for each."""
        ...


class Evaluation(Protocol):
    """A judgement of drawn pictures; named by `_target_` in conf/evaluation."""

    def evaluate(self, draw: DrawRecords) -> dict[str, float]:
        """Metrics by name."""
        ...
