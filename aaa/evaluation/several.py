"""Several evaluations of the same pictures."""

import logging
from collections.abc import Mapping

from aaa.errors import UserError, require_methods
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
        reasons = self._reasons(evaluated)
        told = " ".join(f"{name}: {why}" for name, why in reasons.items())
        if reasons and len(reasons) == len(self.parts):
            raise NotApplicable(told)
        if reasons:
            of_part = "" if evaluated.part_name is None else f" of data.parts.{evaluated.part_name}"
            logger.warning("Of the evaluation%s is left out: %s", of_part, told)

    def evaluate(self, evaluated: EvaluatedModel) -> dict[str, float]:
        """The metrics of all of them.

        Raises:
            UserError: if one cannot judge as it was asked to, before any picture is drawn for another; or if two give
                metrics of one name.
        """
        metrics: dict[str, float] = {}
        given_by: dict[str, str] = {}
        reasons = self._reasons(evaluated)
        for name, part in self.parts.items():
            if name in reasons:
                logger.info("%s is left out: %s", name, reasons[name])
                continue
            try:
                found = judged(part, evaluated)
            except NotApplicable as why:
                logger.info("%s is left out: %s", name, why)
                continue
            if twice := next((metric for metric in found if metric in given_by), None):
                raise UserError(
                    f"evaluation.parts.{name}: gives {twice}, as evaluation.parts.{given_by[twice]} does, so that one "
                    f"number would hide the other. Leave one out, evaluation.parts.{name}=null; two folders of vision "
                    "models need names of their own."
                )
            metrics |= found
            given_by |= dict.fromkeys(found, name)
        return metrics

    def _reasons(self, evaluated: EvaluatedModel) -> dict[str, NotApplicable]:
        """Why parts have nothing to say, as far as they know it beforehand."""
        reasons = {}
        for name, part in self.parts.items():
            try:
                check(part, evaluated)
            except NotApplicable as why:
                reasons[name] = why
        return reasons
