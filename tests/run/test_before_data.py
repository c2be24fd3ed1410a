"""What is tried before pictures are encoded leaves nothing behind, and is asked for nothing that it cannot know."""

import re

import pytest
import torch

from aaa.assembly.parts import build_model, build_sampling
from aaa.errors import UserError
from aaa.evaluation.none import NoEvaluation
from aaa.run.before_data import try_parts
from aaa.training.lr_schedules import Schedule, constant
from tests.helpers.composed import compose


class Drawing(NoEvaluation):
    """An evaluation that draws random numbers when it is made."""

    def __init__(self, num_images: int) -> None:
        super().__init__(num_images)
        self.directions = torch.rand(num_images)


def long_only(max_steps: int) -> Schedule:
    if max_steps < 10_000:
        raise UserError("lr_scheduler: is for long runs.")
    return constant(max_steps)


def tried(*overrides: str) -> None:
    config = compose("logger=none", "model.dim=32", "model.depth=1", "model.heads=2", *overrides)
    try_parts(config, build_model(config), build_sampling(config).guidance)


def test_random_numbers_stay_as_they_are() -> None:
    torch.manual_seed(0)
    untouched = torch.rand(3)
    config = compose("model.dim=32", "model.depth=1", "model.heads=2", f"evaluation._target_={__name__}.Drawing")
    model, guidance = build_model(config), build_sampling(config).guidance
    torch.manual_seed(0)
    try_parts(config, model, guidance)
    assert torch.equal(torch.rand(3), untouched)


def test_a_schedule_of_a_run_whose_length_a_budget_decides_is_not_tried() -> None:
    schedule = ["lr_scheduler=constant", f"lr_scheduler._target_={__name__}.long_only"]
    tried(*schedule, "budget.seconds=60")
    with pytest.raises(UserError, match="is for long runs"):
        tried(*schedule)


@pytest.mark.parametrize("metric", ["val/loss_sigma_0.2_0.4", "val/loss/shapes", "val/loss_raw", "train/loss"])
def test_a_metric_that_only_the_data_knows_is_not_refused_without_it(metric: str) -> None:
    tried(f"checkpoint.metric={metric}")
    with pytest.raises(UserError, match=re.escape("checkpoint.metric=val/x with checkpoint.keep_best=1: nothing logs")):
        tried("checkpoint.metric=val/x")
