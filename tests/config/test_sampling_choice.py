"""What is chosen in place of a model's own way to be sampled."""

from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from aaa.assembly.parts import build_sampling
from aaa.config.groups import options_of
from aaa.config.sampling_choice import SamplingChoice
from aaa.diffusion.autoguidance import CheckpointGuidance
from aaa.diffusion.guidance import PromptGuidance
from aaa.diffusion.heun import Heun
from aaa.diffusion.samplers import Euler
from aaa.errors import UserError
from tests.helpers.composed import compose


@pytest.fixture(scope="module")
def config() -> DictConfig:
    """Of a run."""
    return compose("sampling.guidance=4", "sampling.steps=20", "guidance.interval=[0.0,1.0]")


def test_nothing_chosen_is_as_the_run_had_it(config: DictConfig) -> None:
    nothing = SamplingChoice(guidance=OmegaConf.create({"scale": None, "interval": None, "rescale": None}))
    assert SamplingChoice().applied_to(config) == nothing.applied_to(config) == config
    sampling = build_sampling(config)
    assert isinstance(sampling.sampler, Euler)
    assert isinstance(sampling.guidance, PromptGuidance)
    assert (sampling.steps, sampling.guidance.scale) == (20, 4)


def test_a_part_leaves_the_rest(config: DictConfig) -> None:
    chosen = SamplingChoice(steps=7, sampler="heun", guidance={"interval": (0.2, 0.8)}).applied_to(config)
    sampling = build_sampling(chosen)
    assert isinstance(sampling.sampler, Heun)
    assert isinstance(sampling.guidance, PromptGuidance)
    found = sampling.guidance
    assert (sampling.steps, found.scale, found.low, found.high, found.rescale) == (7, 4, 0.2, 0.8, 0)
    assert config.sampling.steps == 20, "the run's own config is left alone"


def test_another_guidance_takes_the_runs_scale(config: DictConfig) -> None:
    node = OmegaConf.create(
        {"_target_": "aaa.diffusion.autoguidance.CheckpointGuidance", "scale": "${sampling.guidance}", "model": "early"}
    )
    for chosen, scale in ((node, 4), (OmegaConf.merge(node, {"scale": 2}), 2)):
        assert isinstance(chosen, DictConfig)
        guidance = build_sampling(SamplingChoice(guidance=chosen).applied_to(config)).guidance
        assert isinstance(guidance, CheckpointGuidance)
        assert (guidance.scale, guidance.path) == (scale, "early")


def test_a_guidance_may_be_named_as_a_sampler_may(config: DictConfig) -> None:
    other = config.copy()
    other.guidance = {"_target_": "my_parts.MyGuidance"}
    named = build_sampling(SamplingChoice(guidance="prompt").applied_to(other)).guidance
    assert isinstance(named, PromptGuidance)
    assert named.scale == 4
    with pytest.raises(UserError, match="guidance=internal"):
        SamplingChoice(guidance="internal").applied_to(other)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"steps": 0}, "steps=0: must be at least 1"),
        ({"guidance": 1e38}, r"guidance=1e\+38: must be at least -1000 and at most 1000\."),
        ({"guidance": {"scale": "much"}}, "guidance=much: must be a number"),
        ({"guidance": {"scale": True}}, "guidance=True: must be a number"),
        ({"sampler": "huen"}, r"sampler=huen: no such option \(did you mean 'heun'\?\)\. There is: dpmpp_2m, euler,"),
        ({"sampler": "../run"}, "no such option"),
        ({"guidance": "promt"}, r"guidance=promt: no such option \(did you mean 'prompt'\?\)\. There is: checkpoint"),
    ],
)
def test_what_cannot_be_chosen_is_said(choice: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SamplingChoice(**choice)


@pytest.mark.parametrize("name", options_of("sampler"))
def test_every_sampler_can_be_chosen(config: DictConfig, name: str) -> None:
    sampling = build_sampling(SamplingChoice(sampler=name).applied_to(config))
    assert sampling.evaluations(sampling.sigmas(16)) == (2 if name != "heun" else 4) * 20 - (2 if name == "heun" else 0)
