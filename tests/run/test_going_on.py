"""What a run that goes on says of what is different."""

import json
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch import Tensor

from aaa.data.batch import Batch
from aaa.errors import UserError
from aaa.run.going_on import Before, branch_checkpoint, read_before, refuse_senseless, taken_for_granted
from aaa.run.latent_loader import LatentLoader
from aaa.run.longer import longer_from, unaffected_steps, warn_of_schedule
from aaa.run.shaping import changed_settings, shaping_settings
from aaa.saved.checkpoint import State
from aaa.training.lr_schedules import Schedule, constant, warmup_cosine, warmup_stable_decay
from tests.helpers.composed import compose

WSD = partial(warmup_stable_decay, warmup_steps=2, decay_fraction=0.5, final_fraction=0.02)
COSINE = partial(warmup_cosine, warmup_steps=2, final_fraction=0.0)
SETTINGS = {
    "seed": 0,
    "model.heads": 4,
    "init_from": None,
    "data.validation_fraction": 0.1,
    "optimizer.learning_rate": 1e-3,
    "trainer.batch_size": 8,
    "trainer.max_steps": 10,
}


def before(run: Path, step: int = 10, **settings: Any) -> Before:
    state = State(step, 1.0, "abc", step, metrics={"train/lr": 2e-5})
    return Before(run / "checkpoints" / f"step-{step:08d}", state, 8 * step, None, SETTINGS | settings)


def test_only_what_shapes_the_weights_counts() -> None:
    config = {
        "seed": 0,
        "name": "x",
        "model": {"name": "dit", "dim": 64},
        "data": {"root": "r", "cache_dir": "c"},
        "trainer": {"batch_size": 8, "device": "cpu", "log_every_steps": 10},
        "logger": {"project": "p"},
    }
    settings = shaping_settings(config, processes=2)
    assert settings == {"seed": 0, "model.dim": 64, "data.root": "r", "trainer.batch_size": 8, "processes": 2}
    now = settings | {"seed": 1, "data.new_key": 3, "trainer.max_steps": 7}
    assert changed_settings(settings | {"trainer.max_steps": 5}, now) == {"seed": (0, 1)}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model.heads": 2}, "model.heads=2: the 10 steps so far were trained with model.heads=4"),
        ({"data.validation_fraction": 0.2}, "of what would be held out now, some was trained on"),
        ({"init_from": "weights"}, "init_from=weights: the run has weights of its own by now"),
        ({"data.validation_fraction": 0.0}, None),
        ({"optimizer.learning_rate": 1e-4, "seed": 3, "trainer.batch_size": 4}, None),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, changed: dict[str, Any], message: str | None) -> None:
    if message is None:
        refuse_senseless(before(tmp_path), SETTINGS | changed)
        return
    (key,) = changed
    with pytest.raises(UserError, match=rf"^{key}=") as refused:
        refuse_senseless(before(tmp_path), SETTINGS | changed)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("make", "step", "max_steps", "warns"),
    [
        (WSD, 10, 20, True),
        (WSD, 8, 20, True),  # stopped while it fell
        (WSD, 5, 20, False),  # before it fell
        (WSD, 10, 10, False),
        (WSD, 5, 6, True),  # a shorter run would have begun to fall by now
        (COSINE, 5, 20, True),
        (COSINE, 2, 20, False),
        (constant, 10, 20, False),
    ],
)
def test_a_longer_run_after_the_decay_is_told(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    make: Callable[[int], Schedule],
    step: int,
    max_steps: int,
    warns: bool,
) -> None:
    (tmp_path / "checkpoints" / "step-00000005").mkdir(parents=True)
    with caplog.at_level(logging.WARNING):
        warn_of_schedule(before(tmp_path, step), make, max_steps, 1e-3, [f"trainer.max_steps={max_steps}"])
    assert bool(caplog.records) is warns
    if warns:
        assert "learning rate" in caplog.text
        assert "It was 2e-05 and goes on at " in caplog.text
    if make is WSD and step >= 8 and warns:
        assert f"repeat={tmp_path}/checkpoints/step-00000005 trainer.max_steps=20" in caplog.text
    elif make is COSINE and warns:
        assert f"To train anew: python -m aaa.train repeat={tmp_path} trainer.max_steps=20" in caplog.text


@pytest.mark.parametrize("make", [WSD, COSINE])
def test_what_makes_a_run_of_ones_own_code_longer_trusts_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, make: Callable[[int], Schedule]
) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_text("optimizer: {_target_: my_parts.adam}")
    (tmp_path / "checkpoints" / "step-00000005").mkdir(parents=True)
    warn_of_schedule(before(tmp_path, 10), make, 20, 1e-3, ["trainer.max_steps=20"])
    assert caplog.text.rstrip().endswith("trainer.max_steps=20 trust_config=true")
    assert str(longer_from(tmp_path, 5, ["trainer.max_steps=20"])).endswith("trainer.max_steps=20 trust_config=true")


@pytest.mark.parametrize(
    ("make", "max_steps", "steps"),
    [(WSD, 10, 5), (WSD, 2400, 1200), (COSINE, 10, 3), (constant, 10, 10), (WSD, 1, 0)],
)
def test_the_steps_before_the_decay(make: Callable[[int], Schedule], max_steps: int, steps: int) -> None:
    assert unaffected_steps(make, max_steps) == steps
    assert all(make(max_steps)(step) == make(7 * max_steps)(step) for step in range(steps))


@pytest.mark.parametrize(
    ("state", "rows", "samples"),
    [
        ({"samples": 100, "flops": 7}, [], 100),
        ({"metrics": {"samples": 80}}, [], 80),
        ({}, [{"step": 4, "samples": 64}, {"step": 8, "samples": 96}, {"step": 12, "samples": 1}], 112),
        ({}, [], 80),
    ],
)
def test_samples_of_earlier_versions_are_counted(
    tmp_path: Path, state: dict[str, Any], rows: list[dict[str, int]], samples: int
) -> None:
    checkpoint = tmp_path / "checkpoints" / "step-00000010"
    checkpoint.mkdir(parents=True)
    content = {"step": 10, "seconds": 1.0, "cache_fingerprint": "abc", "ema_updates": 10} | state
    (checkpoint / "state.json").write_text(json.dumps(content))
    (tmp_path / "config.yaml").write_text("trainer: {batch_size: 8, max_steps: 10}")
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_before(checkpoint)
    assert found.samples == samples
    assert found.settings == taken_for_granted() | {"trainer.batch_size": 8, "trainer.max_steps": 10}


def test_a_damaged_checkpoint_is_not_branched_off(tmp_path: Path) -> None:
    assert branch_checkpoint(None) is None
    assert branch_checkpoint(str(tmp_path)) is None
    (tmp_path / "checkpoints" / "step-00000010").mkdir(parents=True)
    with pytest.raises(UserError, match=r"this checkpoint is damaged: manifest\.json is missing"):
        branch_checkpoint(str(tmp_path / "checkpoints" / "step-00000010"))


class FakeCache:
    """Records that are their own latents, of one shape or two."""

    nbytes = 1
    is_here = True
    groups = None

    def __init__(self, shape_ids: Tensor) -> None:
        self.shape_ids = shape_ids

    def draw_captions(self, _records: Tensor, _draws: torch.Generator) -> Tensor:
        return torch.zeros(0)

    def batch(self, records: Tensor, _captions: Tensor) -> Batch:
        return Batch.of_strangers(records, records)


def steps_of(shape_ids: Tensor, batch_size: int, began_at: int, steps: int) -> tuple[list[list[int]], int]:
    """The records of each step, and how many samples there are then."""
    cache: Any = FakeCache(shape_ids)
    feed = LatentLoader(cache, torch.arange(len(shape_ids)), batch_size, 1, 0, torch.device("cpu"), began_at)
    places = [range(began_at + step * batch_size, began_at + (step + 1) * batch_size) for step in range(steps)]
    taken = [feed.batches(place).latents.tolist() for place in places]
    assert taken == [feed.records_at(place) for place in places]
    return taken, began_at + steps * batch_size


@given(first=st.integers(1, 7), second=st.integers(1, 7), steps=st.integers(1, 5))
def test_data_go_on_where_they_were_with_another_batch_size(first: int, second: int, steps: int) -> None:
    one_shape = torch.zeros(100, dtype=torch.long)
    before, samples = steps_of(one_shape, first, 0, steps)
    after, _ = steps_of(one_shape, second, samples, steps)
    together, _ = steps_of(one_shape, 1, 0, sum(map(len, before + after)))
    assert [record for step in before + after for record in step] == [record for (record,) in together]


@given(first=st.integers(1, 7), second=st.integers(1, 7), steps=st.integers(1, 5))
def test_batches_stay_of_one_shape_with_another_batch_size(first: int, second: int, steps: int) -> None:
    two_shapes = torch.arange(40) % 2
    _, samples = steps_of(two_shapes, first, 0, steps)
    after, samples = steps_of(two_shapes, second, samples, steps)
    assert all(two_shapes[torch.tensor(step)].unique().numel() == 1 for step in after)
    # Going on once more takes the very batches that going on without a stop would have taken.
    through, _ = steps_of(two_shapes, second, steps * first, 2 * steps)
    assert after + steps_of(two_shapes, second, samples, steps)[0] == through


def test_what_an_earlier_versions_run_did_not_say_is_what_it_had() -> None:
    before = taken_for_granted()
    new = {"routing.kind": "tread", "routing.rate": 0.5, "objective.weighting": "min_snr", "trainer.base_batch_size": 8}
    assert set(changed_settings(before, before | new)) == new.keys()
    resolved = OmegaConf.to_container(compose("output_dir=x", "objective=velocity"), resolve=True)
    assert not changed_settings(before, shaping_settings(resolved) | {"model.position_grid": 16, "model.base_heads": 2})
