"""What a run looks at, and what becomes of it where there is nothing to see."""

import json
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from PIL import Image

from aaa.assembly.own_prompts import OwnPrompts
from aaa.data.shapes import ShapesSource
from aaa.evaluation.evaluated_model import EvaluatedModel
from aaa.evaluation.latent_distance import LatentDistance
from aaa.evaluation.none import NoEvaluation
from aaa.run import callbacks
from aaa.run.callbacks import RunCallbacks, open_guide
from aaa.tracking.tracker import METRICS, NoLogger, RunInfo, Tracker
from tests.data.test_cache import build
from tests.e2e.conftest import SMALL, fork_in, metrics
from tests.evaluation.test_drawing import OfThePrompt, drawer_in
from tests.evaluation.test_evaluations import evaluated


def write_rows(folder: Path, *rows: dict[str, float]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def callbacks_in(folder: Path) -> RunCallbacks:
    run: Any = SimpleNamespace(
        learner=SimpleNamespace(judged={}),
        data=SimpleNamespace(table=None, records={}),
        session=SimpleNamespace(signals=None),
        origin=SimpleNamespace(folder=SimpleNamespace(path=folder)),
    )
    drawer: Any = None
    return RunCallbacks(run, None, drawer, NoEvaluation())


@pytest.mark.parametrize(
    ("rows", "loss"),
    [
        ([], None),
        ([{"step": 2, "train/loss": 2.0}], None),
        ([{"step": 2, "val/loss": 0.5}, {"step": 4, "val/loss": 0.25}, {"step": 6, "train/loss": 2.0}], 0.25),
    ],
)
def test_a_run_that_is_resumed_after_its_last_validation_has_a_loss(
    tmp_path: Path, rows: list[dict[str, float]], loss: float | None
) -> None:
    write_rows(tmp_path, *rows)
    assert callbacks_in(tmp_path).last_validation_loss == loss


@pytest.mark.parametrize("max_steps", [2, 3])
def test_a_run_that_has_taken_all_its_steps_is_not_given_up(tmp_path: Path, max_steps: int) -> None:
    sweep = tmp_path / "sweep"
    for name in ("good", "also-good"):
        write_rows(sweep / name, {"step": 2, "val/loss": 0.0}, {"step": 3, "val/loss": 0.0})
    small = [argument for argument in SMALL if not argument.startswith(("trainer.max", "trainer.val", "evaluation."))]
    done = fork_in(
        tmp_path,
        *("aaa.train", "-m", *small, "evaluation=none", "logger=none", "seed=0"),
        *(f"hydra.sweep.dir={sweep}", "hydra.sweep.subdir=job-${hydra.job.num}"),
        *("sweep.prune_after_steps=1", "sweep.prune_min_runs=2"),
        *(f"trainer.max_steps={max_steps}", "trainer.validate_every_steps=2"),
    )
    assert done.code == 0, done.err
    run = sweep / "job-0"
    is_last = max_steps == 2
    assert ("Pruned at step 2" in done.err) is not is_last
    assert any("sweep/pruned" in row for row in metrics(run)) is not is_last
    assert (run / "model/config.json").is_file() is is_last
    assert bool(list(run.glob("samples/step-00000002*"))) is is_last


@pytest.mark.parametrize(
    ("said", "typed", "is_trusted"),
    [
        ({}, ["trust_config=true"], True),
        ({"trust_config": False}, [], False),
        ({"resume": "auto"}, ["resume=auto"], True),
        ({"resume": "elsewhere"}, ["resume=elsewhere"], False),
        ({"resume": "elsewhere"}, ["resume=elsewhere", "trust_config=true"], True),
        ({"repeat": "elsewhere"}, ["repeat=elsewhere"], False),
    ],
)
def test_a_run_that_another_wrote_down_does_not_say_itself_that_its_guide_is_trusted(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], typed: list[str], is_trusted: bool
) -> None:
    asked: list[bool] = []
    composed = SimpleNamespace(overrides=SimpleNamespace(task=typed))
    monkeypatch.setattr(HydraConfig, "get", lambda: composed)
    monkeypatch.setattr(callbacks, "resolve_encoder", lambda *_: {})
    monkeypatch.setattr(callbacks, "load_guide", lambda *_, trust_config: asked.append(trust_config))
    saved = {"resume": None, "repeat": None, "trust_config": True, "trainer": {"precision": "float32"}}
    session: Any = SimpleNamespace(device=torch.device("cpu"))
    unread: Any = SimpleNamespace(guidance=None)
    open_guide(OmegaConf.create(saved | said), session, unread, unread)
    assert asked == [is_trusted]


def test_a_model_that_draws_no_numbers_ends_no_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = build(tmp_path / "cache", ShapesSource(16, num_records=20, num_validation=4))
    broken = evaluated(cache, lambda records: torch.nan * cache.gather(records)[0])
    run: Any = SimpleNamespace(
        config=SimpleNamespace(sampling=SimpleNamespace(num_images=4)),
        learner=SimpleNamespace(judged={"": broken.model}),
        data=SimpleNamespace(table=None, records=broken.records, source_pictures=None),
        session=SimpleNamespace(signals=SimpleNamespace(interruptible=nullcontext)),
        own_prompts=None,
        origin=SimpleNamespace(folder=SimpleNamespace(path=tmp_path)),
    )
    tracker = Tracker(RunInfo(tmp_path, "name", {}, [], None, 0), NoLogger())
    looks = RunCallbacks(run, tracker, broken.drawer, LatentDistance(8))
    caplog.clear()
    looks.sample(7)
    looks.evaluate(7)
    left_out = "is left out. What the model drew are no finite numbers"
    grid, evaluation = (record.message for record in caplog.records if record.levelno == logging.WARNING)
    assert grid.startswith(f"Step 7: a grid of pictures {left_out}")
    assert evaluation.startswith(f"Step 7: the evaluation {left_out}")

    class Looking:
        def evaluate(self, one: EvaluatedModel) -> dict[str, float]:
            one.source_pictures.read([0])
            return {}

    RunCallbacks(run, tracker, broken.drawer, Looking()).evaluate(8)  # nor do pictures that are gone meanwhile
    assert caplog.messages[-1].startswith("Step 8: the evaluation is left out. evaluation.reference=original: of data")
    assert not (tmp_path / METRICS).exists()
    assert not (tmp_path / "samples").exists()


class Noting(NoLogger):
    """Notes which pictures it gets."""

    def __init__(self) -> None:
        self.pictures: dict[str, list[str]] = {}

    def log_images(self, step: int, name: str, images: Sequence[Image.Image], captions: Sequence[str]) -> None:
        assert (step, len(images)) == (7, len(captions))
        self.pictures[name] = [*captions]


def test_prompts_of_ones_own_are_logged_and_saved_under_a_name_of_their_own(tmp_path: Path) -> None:
    drawer = drawer_in(tmp_path)
    embeds = drawer.cache.gather(torch.arange(3))[1]
    run: Any = SimpleNamespace(
        config=OmegaConf.create(
            {
                "sampling": {"num_images": 2},
                "data": {"resolution": 16},
                "encoder": {"downscale_factor": 4, "latent_channels": 48},
            }
        ),
        learner=SimpleNamespace(judged={"": OfThePrompt(), "_raw": OfThePrompt()}),
        data=SimpleNamespace(table=None, records={"train": torch.arange(4), "validation": torch.arange(8, 10)}),
        session=SimpleNamespace(signals=SimpleNamespace(interruptible=nullcontext)),
        own_prompts=OwnPrompts(["a", "b", "c"], embeds, [1, 1, 1]),
        origin=SimpleNamespace(folder=SimpleNamespace(path=tmp_path)),
    )
    noting = Noting()
    looks = RunCallbacks(run, Tracker(RunInfo(tmp_path, "name", {}, [], None, 0), noting), drawer, NoEvaluation())
    looks.sample(7)
    own = ["a", "b", "c"]
    of_data = [drawer.cache.records[index].prompt for index in (0, 8)]
    assert noting.pictures == {"pictures": of_data, "prompts": own, "pictures_raw": of_data, "prompts_raw": own}
    endings = ("", "-prompts", "-raw", "-prompts-raw")
    assert {path.name for path in tmp_path.glob("samples/*")} == {f"step-00000007{ending}.png" for ending in endings}
