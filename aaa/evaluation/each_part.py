"""An evaluation of several data sets that are mixed: of each by itself, where it applies."""

import logging
from collections.abc import Callable, Mapping

from torch import Tensor

from aaa.evaluation.evaluated_model import EvaluatedModel, Group
from aaa.evaluation.none import NoEvaluation
from aaa.evaluation.protocol import Evaluation, NotApplicable, check, judged

logger = logging.getLogger(__name__)

ERROR = "_standard_error"


class EachPart:
    """Judges pictures for the prompts of one part beside the pictures of that part, then of the next.

    Args:
        evaluation: of one.
        parts: records of each split and of what is trained on, by the parts' names.
        spans: all records of each part in the cache, by its name.
    """

    def __init__(
        self, evaluation: Evaluation, parts: Mapping[str, dict[Group, Tensor]], spans: Mapping[str, range]
    ) -> None:
        self.evaluation, self.parts, self.spans = evaluation, parts, spans

    def check(self, evaluated: EvaluatedModel) -> None:
        """Ask the evaluation about each part, and warn of those that it will have nothing to say of.

        Raises:
            NotApplicable: if these are all.
        """
        reasons = self._of_each(evaluated, lambda _name, part: check(self.evaluation, part))
        if reasons:
            logger.warning("The evaluation will have nothing to say of %s", "; ".join(reasons))

    def evaluate(self, evaluated: EvaluatedModel) -> dict[str, float]:
        """Its metrics of each part that it applies to: `quality/seen/shapes` and the like."""
        metrics: dict[str, float] = {}

        def judge(name: str, part: EvaluatedModel) -> None:
            logger.info("Judging pictures for data.parts.%s.", name)
            for metric, value in judged(self.evaluation, part).items():
                metrics[_of_part(metric, name)] = value
            evaluated.compared |= {_of_part(metric, name): told for metric, told in part.compared.items()}
            for picture, image in part.kept.items():
                evaluated.keep(f"{picture}-{name}", image)

        for reason in self._of_each(evaluated, judge):
            logger.info("Left out is %s", reason)
        return metrics

    def _of_each(self, evaluated: EvaluatedModel, look: Callable[[str, EvaluatedModel], None]) -> list[str]:
        """Look at each part; why it does not apply to those that it does not apply to, if that is not all."""
        reasons = []
        for name, records in self.parts.items():
            part = EvaluatedModel(
                evaluated.model,
                evaluated.drawer,
                records,
                evaluated.on_drawn,
                self.spans[name],
                evaluated.source_pictures,
                name,
            )
            try:
                look(name, part)
            except NotApplicable as why:
                reasons.append(f"data.parts.{name}: {why}")
        if len(reasons) == len(self.parts):
            raise NotApplicable(" ".join(reasons))
        return reasons


def _of_part(metric: str, name: str) -> str:
    plain = metric.removesuffix(ERROR)
    return f"{plain}/{name}{metric[len(plain) :]}"


def for_parts(
    evaluation: Evaluation, parts: Mapping[str, dict[Group, Tensor]], spans: Mapping[str, range]
) -> Evaluation:
    """The evaluation of a run's data: as it is where that has no parts."""
    return EachPart(evaluation, parts, spans) if parts and not isinstance(evaluation, NoEvaluation) else evaluation
