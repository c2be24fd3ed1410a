"""What others call keys and options leads to ours, which are there."""

import pytest
from omegaconf import OmegaConf

from aaa.cli.other_names import KEYS, OPTIONS, key_meant, option_meant, respelt
from aaa.config.groups import group_options
from tests.helpers.composed import compose


def test_each_key_that_is_named_is_one_that_a_run_has() -> None:
    of_default = compose()
    of_pictures = compose("data=imagefolder", "data.root=x")
    for key in {*KEYS.values()}:
        group, _, name = key.rpartition(".")
        there = [c for c in (of_default, of_pictures) if name in (OmegaConf.select(c, group) if group else c)]
        assert there, key


def test_each_option_that_is_named_is_one_that_its_group_has() -> None:
    for option in OPTIONS.values():
        group, _, name = option.partition("=")
        assert name in group_options()[group]


def test_no_name_of_others_is_a_key_of_ours_in_the_same_place() -> None:
    config = compose()
    for theirs, ours in KEYS.items():
        group = ours.rpartition(".")[0]
        if group:
            assert theirs not in OmegaConf.select(config, group)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("trainer.gradient_clipping", "trainer.max_grad_norm"),
        ("gradient_clip_val", "trainer.max_grad_norm"),
        ("ema.decay", "trainer.ema_decay"),
        ("optimizer.ema.decay", None),
        ("data.batch_size", "trainer.batch_size"),
        ("encoder.batch_size", None),
        ("model.foo", None),
        ("trainer.steps", "trainer.max_steps"),
        ("steps", "trainer.max_steps"),
        ("sampler.steps", None),
        ("optimizer.scale", None),
        ("lr_scheduler.warmup", "lr_scheduler.warmup_steps"),
        ("model.width", "model.dim"),
        ("data.width", None),
    ],
)
def test_a_key_is_found_wherever_others_have_it(typed: str, meant: str | None) -> None:
    assert key_meant(typed, [*KEYS.values()]) == meant


def test_a_key_that_a_command_has_not_is_not_meant_but_its_name_is_spelt_as_ours() -> None:
    assert key_meant("model.num_layers", ["sampling.steps"]) is None
    assert respelt("model.num_layers") == "model.depth"
    assert respelt("model.dpeth") == "model.dpeth"
    assert respelt("sampler.steps") == "sampler.steps"


def test_an_option_of_another_group_is_named_with_it() -> None:
    groups = {"scheduler": ["linear"], "lr_scheduler": ["warmup_cosine"], "evaluation": ["none"], "logger": ["none"]}
    assert option_meant("scheduler", "warmup_cosine", groups) == "lr_scheduler=warmup_cosine"
    assert option_meant("scheduler", "cosine", groups) == "lr_scheduler=warmup_cosine"
    assert option_meant("scheduler", "linaer", groups) is None
    assert option_meant("objective", "x0", groups) is None  # which has no such group
    assert option_meant("scheduler", "none", groups) is None
