"""A step is traced to the very records and noise levels that it had."""

import json
import math
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from aaa.data.batch import Batch
from aaa.data.shapes import ShapesSource
from aaa.diffusion.prediction import VelocityPrediction
from aaa.diffusion.schedulers import LinearScheduler, NoiseLevels
from aaa.encoders.words import WordEmbedding
from aaa.objectives.flow_matching import FlowMatching
from aaa.run.anomaly_log import AnomalyLog
from aaa.run.latent_loader import LatentLoader
from aaa.training.anomalies import Anomaly
from aaa.training.loop import Hooks, fit
from aaa.training.lr_schedules import constant
from aaa.training.progress import Progress
from aaa.training.signals import StopSignals
from aaa.training.step import Trainee
from tests.data.test_cache import Captioned, build
from tests.helpers.loop_settings import loop_settings


class RecordingScheduler(LinearScheduler):
    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[NoiseLevels] = []

    def draw(self, batch_size: int, generator: torch.Generator) -> NoiseLevels:
        self.drawn.append(super().draw(batch_size, generator))
        return self.drawn[-1]


class Velocity(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, latents: Tensor, _prompt_embeds: Tensor, _timestep: Tensor) -> Tensor:
        return self.scale * latents


def test_a_step_is_traced_to_its_records_and_noise_levels(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = build(tmp_path / "cache", ShapesSource(num_records=10, num_validation=0, resolution=16))
    feed = LatentLoader(cache, torch.arange(len(cache)), 4, 2, seed=3, device=torch.device("cpu"))
    scheduler, model = RecordingScheduler(), Velocity()
    objective = FlowMatching(scheduler, cache.empty_prompt_embeds.float(), 0.5, VelocityPrediction())
    seen: list[list[str]] = []
    told: list[Anomaly] = []

    def batches(positions: range) -> Batch:
        seen.append([cache.records[index].key for index in feed.records_at(positions)])
        return feed.batches(positions)

    def loss(model: nn.Module, batch: Batch, draws: torch.Generator, step: int) -> dict[str, Tensor]:
        terms = objective(model, batch, draws, step)
        return {"velocity": terms["velocity"] * torch.tensor([1.0, math.nan])} if len(seen) == 4 else terms

    progress = Progress()
    settings = loop_settings(
        seed=3,
        max_steps=4,
        batch_size=4,
        gradient_accumulation_steps=2,
        max_grad_norm=0,
        on_nonfinite="skip",
        max_skipped_steps=1,
    )
    anomalies = AnomalyLog(tmp_path, feed, objective, model, settings, progress, torch.device("cpu"))
    accelerator = Accelerator(cpu=True)
    prepared, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=1e-3))

    def report(odd: Anomaly) -> str:
        told.append(odd)
        return anomalies.report(odd)

    trainee = Trainee(accelerator, prepared, optimizer, None, loss, batches, constant(4))
    hooks = Hooks([], lambda _step, _last: None, lambda _step, _metrics: None, report)
    fit(trainee, settings, hooks, progress, StopSignals())
    (odd,) = told
    assert (odd.kind, odd.step) == ("skipped", 2)
    drawn = [round(level, 3) for levels in scheduler.drawn[2:4] for level in levels.timestep.tolist()]
    traced = anomalies.samples_of(odd)
    assert sorted((sample["record"], sample["timestep"]) for sample in traced) == sorted(
        zip(seen[2] + seen[3], drawn, strict=True)
    )
    guilty = traced[0]
    assert math.isnan(guilty["loss"])
    assert (guilty["record"], guilty["timestep"]) == (seen[3][1], drawn[3])
    row = json.loads((tmp_path / "odd_steps.jsonl").read_text())
    assert row["samples"][0]["record"] == guilty["record"]
    assert row["samples"][0]["loss"] == "nan"
    assert row["parameter_norms"]
    assert f"it went wrong with {guilty['record']!r} at timestep {guilty['timestep']:.1f}" in caplog.text


def test_the_caption_that_is_told_is_the_one_that_was_drawn(tmp_path: Path) -> None:
    cache = build(tmp_path / "cache", Captioned())
    feed = LatentLoader(cache, torch.arange(3), 4, 1, seed=3, device=torch.device("cpu"))
    words, told = WordEmbedding(32, 6), []
    for first in range(0, 40, 4):
        positions = range(first, first + 4)
        told += feed.prompts_at(positions)
        seen = feed.batches(positions).prompt_embeds
        torch.testing.assert_close(seen, words.encode(feed.prompts_at(positions))[0], atol=1e-2, rtol=1e-3)
    assert set(told) == {"short", "long and wordy"}
