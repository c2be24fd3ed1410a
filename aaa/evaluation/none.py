"""No judgement of a model."""

from aaa.evaluation.studio import Studio


class NoEvaluation:
    """Measures nothing."""

    def evaluate(self, studio: Studio) -> dict[str, float]:
        """No metrics."""
        del studio
        return {}
