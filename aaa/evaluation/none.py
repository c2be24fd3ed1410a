"""No judgement of a model."""

from aaa.evaluation.evaluated_model import EvaluatedModel


class NoEvaluation:
    """Measures nothing.

    Args:
        num_images: of no use; experiments say it of whatever evaluation is chosen.
    """

    def __init__(self, num_images: int | None = None) -> None:
        del num_images

    def evaluate(self, evaluated: EvaluatedModel) -> dict[str, float]:
        """No metrics."""
        del evaluated
        return {}
