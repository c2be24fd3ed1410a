"""Steps on a device that is not the CPU: they find all they need there, and nothing makes the CPU wait for it."""

import pytest
import torch
from omegaconf import DictConfig
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException

from aaa.assembly.parts import (
    build_average,
    build_objective,
    build_optimizer,
    build_sampling,
    model_without_weights,
)
from aaa.data.batch import Batch
from aaa.objectives.flow_matching import FlowMatching, Objective
from aaa.run.trial import loss_in
from aaa.training.precision import precision
from aaa.training.progress import Progress
from aaa.training.step import StepResult, Trainee, take_step
from tests.helpers.composed import checked
from tests.helpers.device_apart import APART, Elsewhere, Waits, device_apart, move
from tests.helpers.loop_settings import loop_settings

SMALL = ("model.dim=64", "model.depth=4", "model.heads=2", "data.resolution=16", "trainer.batch_size=8")


def made_up(config: DictConfig, objective: Objective, samples: int) -> Batch:
    side = config.data.resolution // config.encoder.downscale_factor
    prompts = torch.randn(samples, config.encoder.max_prompt_tokens, config.model.text_dim, device=APART)
    latents = torch.randn(samples, config.model.in_channels, side, side, device=APART)
    extras = {
        name: torch.randn(samples, extra.channels, side, side, device=APART) for name, extra in objective.extras.items()
    }
    return Batch.of_strangers(latents, prompts)._replace(extras=extras)


def steps(config: DictConfig, monkeypatch: pytest.MonkeyPatch) -> tuple[StepResult, Waits]:
    """The second of two steps, two micro-batches each, and what was waited for in it."""
    _, dtype = precision(config.trainer.precision)
    model = model_without_weights(config).to(dtype)
    ema = build_average(config, model)
    tokens, text_dim = config.encoder.max_prompt_tokens, config.model.text_dim
    with torch.device("meta"):
        objective = build_objective(config, torch.empty(tokens, text_dim, dtype=dtype))
    assert isinstance(objective, FlowMatching)
    of_objective = nn.ModuleDict(objective.modules)
    # On the CPU, by numbers that there are in truth.
    monkeypatch.setattr("aaa.objectives.contrastive.next_stranger", lambda captions, _pictures: captions.roll(-1))
    first = objective.draw(torch.zeros(1, 1, 1, 1), torch.Generator())
    objective.weighting(first.levels)  # these make tables first, of numbers on the CPU
    with device_apart(monkeypatch) as waits:
        move(model, of_objective, *([] if ema is None else [ema.module]))
        objective.empty_prompt_embeds = torch.zeros(tokens, text_dim, dtype=dtype, device=APART)
        optimizer = build_optimizer(config, model, of_objective)
        for group in optimizer.param_groups:
            group["fused"] = False  # torch has that kernel for devices it knows
        trainee = Trainee(
            Elsewhere(),
            model,
            optimizer,
            ema,
            loss_in(dtype, objective),
            lambda positions: made_up(config, objective, len(positions)),
            lambda _step: 1.0,
            of_loss=list(objective.modules.values()),
        )
        settings = loop_settings(gradient_accumulation_steps=2, on_nonfinite=config.trainer.on_nonfinite)
        rates = [group["lr"] for group in optimizer.param_groups]
        for number in range(2):
            progress = Progress(step=number, samples=number * settings.batch_size)
            result = take_step(trainee, settings, progress, rates, measure_norms=True)
            if not number:
                waits.noted.clear()  # tables are taken there once
    return result, waits


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("block=modern", "routing=sprint"),
        ("block=modern", "model.joint=mmdit", "model.text_refiner=1", "model.registers=2", "model.value_residual=true"),
        ("block=tutorial", "routing=tread"),
        ("optimizer=soap", "objective=velocity"),
        ("optimizer=adamw", "trainer.precision=bf16_weights"),
        ("objective.terms.perceptual.weight=1",),
        ("objective.terms.dispersive.weight=0.1", "objective.coupling=nearest", "optimizer.fused=parts"),
        (
            "block=modern",
            "model.mask_padding=true",
            "model.text_positions=rope",
            "model.joint=cross",
            "model.pooled_prompt=true",
        ),
        pytest.param(  # DiffSynth takes 10 s to import
            ("scheduler=flux2", "objective=velocity", "objective.weighting=flux2"), marks=pytest.mark.slow
        ),
        ("model.base_dim=32", "model.base_heads=1", "model.parametrization=mup"),
        ("+experiment=recipe_speedrundit",),  # with the contrastive term
    ],
    ids=lambda overrides: " ".join(overrides) or "default",
)
def test_a_step_is_on_its_device_and_waits_for_nothing(
    overrides: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    result, waits = steps(checked(*SMALL, "trainer.precision=float32", *overrides), monkeypatch)
    tensors = [result.loss, result.sample_losses, result.grad_norm, *result.terms.values(), *result.norms.values()]
    assert {tensor.device for tensor in tensors} == {APART}
    assert not waits.noted


@pytest.mark.parametrize(
    ("override", "refusal"),
    [
        ("trainer.on_nonfinite=skip", DataDependentOutputException),
        ("objective.coupling=immiscible", RuntimeError),  # asks for an array of numpy's
    ],
)
def test_what_waits_is_found(override: str, refusal: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/gpu.md names these two."""
    with pytest.raises(refusal):
        steps(checked(*SMALL, "trainer.precision=float32", override), monkeypatch)


@pytest.mark.parametrize(
    "overrides",
    [
        ("guidance=prompt", "guidance.rescale=0.5", "sampler=heun"),
        ("guidance=internal", "objective.terms.internal.weight=0.1", "sampler=dpmpp_2m"),
        ("guidance=routing", "routing=tread", "block=tutorial", "sampler=sde"),
        ("guidance=routing", "routing=sprint", "block=modern", "sampler=euler"),
    ],
    ids=" ".join,
)
def test_pictures_are_drawn_on_their_device(overrides: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    steering = ("sampling.guidance=2", "sampling.guidance_interval=[0,1]", "sampling.steps=3")
    config = checked(*SMALL, "trainer.precision=float32", *steering, *overrides)
    model, sampling = model_without_weights(config).eval(), build_sampling(config)
    sigmas = sampling.sigmas(16)
    with torch.no_grad(), device_apart(monkeypatch) as waits:
        move(model)
        latents = torch.randn(2, config.model.in_channels, 4, 4, device=APART)
        prompts = torch.randn(2, config.encoder.max_prompt_tokens, config.model.text_dim, device=APART)
        drawn = sampling.draw(model, latents, prompts, torch.zeros_like(prompts), sigmas)
    assert drawn.device == APART
    assert drawn.shape == latents.shape
    assert not waits.noted
