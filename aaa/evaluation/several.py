"""Several evaluations of the same pictures."""

import logging
from collections.abc import Mapping
from contextlib import suppress

from aaa.errors import require_methods
from aaa.evaluation.evaluated_model import EvaluatedModel
from aaa.evaluation.protocol import Evaluation, NotApplicable, check, judged

logger = logging.getLogger(__name__)


class Several:
    """Runs one evaluation after another; those that have nothing to say of the data are left out, and say why.

    Args:
        parts: by a name for messages; null takes one out.
        num_images, split, reference: what the parts' own in conf/ refer to.

    Raises:
        UserError: if one is no evaluation.
    """

    def __init__(
        self,
        parts: Mapping[str, Evaluation | None],
        num_images: int | None = None,
        split: str | None = None,
        reference: str | None = None,
    ) -> None:
        del num_images, split, reference
        self.parts = {name: part for name, part in parts.items() if part is not None}
        for name, part in self.parts.items():
            key = f"evaluation.parts.{name}"
            require_methods(part, ("evaluate",), key, f"judging asks of it; {key}=null leaves it out")

    def check(self, evaluated: EvaluatedModel) -> None:
        """Look at each part, and warn of those that will be left out.

        Raises:
            NotApplicable: if all of them will.
        """
        reasons = {}
        for name, part in self.parts.items():
            try:
                check(part, evaluated)
            except NotApplicable as why:
                reasons[name] = f"{name}: {why}"
        if reasons and len(reasons) == len(self.parts):
            raise NotApplicable(" ".join(reasons.values()))
        if reasons:
            logger.warning("Of the evaluation is left out: %s", " ".join(reasons.values()))

    def evaluate(self, evaluated: EvaluatedModel) -> dict[str, float]:
        """The metrics of all of them.

        Raises:
            UserError: if one cannot judge as it was asked to, before any picture is drawn for another.
        """
        metrics: dict[str, float] = {}
        for part in self.parts.values():
            with suppress(NotApplicable):  # it says so when its turn comes
                check(part, evaluated)
        for name, part in self.parts.items():
            try:
                metrics |= judged(part, evaluated)
            except NotApplicable as why:
                logger.info("%s is left out: %s", name, why)
        return metrics
