"""What a file of weights had cost, by where it lies."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from aaa.data.tensor_files import save_tensors
from aaa.run.earlier_stages import stages_behind, stages_of_run
from aaa.saved.checkpoint import State
from aaa.saved.checkpoint_folders import SETTINGS, STATE
from aaa.tracking.finite_json import to_json
from aaa.tracking.stages import STAGES, Stage, in_all


def weights(file: Path, step: int | None) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    metadata = {} if step is None else {"step": str(step)}
    save_tensors({"proj_out.weight": torch.zeros(1)}, file, metadata)
    return file


def made_run(run: Path, *steps: int, environment: dict[str, Any] | None = None, **config: Any) -> Path:
    """A run with these checkpoints, of 32 samples and 1e9 FLOPs a step, and the model of the last."""
    run.mkdir()
    (run / "config.yaml").write_text(json.dumps(config))
    (run / "environment.json").write_text(json.dumps(environment or {}))
    for step in steps:
        folder = run / "checkpoints" / f"step-{step:08d}"
        weights(folder / "ema.safetensors", step)
        state = State(step, 0.5 * step, "", 0, samples=32 * step, flops=10**9 * step)
        (folder / STATE).write_text(to_json(asdict(state)))
        (folder / SETTINGS).write_text(json.dumps(config))
    weights(run / "model" / "model.safetensors", steps[-1])
    return run


def costs(stages: list[Stage]) -> tuple[Any, ...]:
    return tuple(in_all(stages, axis) for axis in ("step", "samples", "flops", "seconds"))


def test_of_a_run_it_is_what_the_run_had_cost_at_that_step(tmp_path: Path) -> None:
    run = made_run(tmp_path / "small", 10, 20)
    (of_last,) = stages_behind(run / "model" / "model.safetensors")
    assert (of_last.run, of_last.step) == (str(run), 20)
    assert costs([of_last]) == (20, 640, 2 * 10**10, 10.0)
    assert costs(stages_behind(run / "checkpoints/step-00000010/ema.safetensors")) == (10, 320, 10**10, 5.0)
    average = weights(run / "averages" / "memory-0.1-step-00000010" / "model.safetensors", 10)
    assert costs(stages_behind(average)) == (10, 320, 10**10, 5.0)
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "best.safetensors"
    link.symlink_to(run / "model" / "model.safetensors")
    assert costs(stages_behind(link)) == costs([of_last])


def test_it_is_known_of_a_run_that_has_lost_its_checkpoints(tmp_path: Path) -> None:
    run = made_run(tmp_path / "small", 20)
    rows = [{"step": step, "samples": 32 * step, "flops": 7 * step, "seconds": 0.5 * step} for step in (10, 20)]
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in [*rows, {"step": 20, "val/loss": 1}]))
    shutil.rmtree(run / "checkpoints")
    assert costs(stages_behind(run / "model" / "model.safetensors")) == (20, 640, 140, 10.0)
    (run / "metrics.jsonl").unlink()
    assert costs(stages_behind(run / "model" / "model.safetensors")) == (20, None, None, None)


def test_stages_before_that_run_count(tmp_path: Path) -> None:
    first = [Stage("first", 5, 100, 10**9, 1.0)]
    environment = {STAGES: [asdict(stage) for stage in first]}
    run = made_run(tmp_path / "second", 10, environment=environment, init_from="first")
    found = stages_behind(run / "model" / "model.safetensors")
    assert found[:1] == first == stages_of_run(run)
    assert costs(found) == (15, 420, 11 * 10**9, 6.0)


def test_a_run_of_an_earlier_version_that_began_from_weights_says_not_what_they_had_cost(tmp_path: Path) -> None:
    run = made_run(tmp_path / "second", 10, init_from="first")
    assert stages_of_run(run) == [Stage("first")]
    assert costs(stages_behind(run / "model" / "model.safetensors")) == (None,) * 4


@pytest.mark.parametrize("step", [None, 600])
def test_of_weights_that_lie_in_no_run_nothing_is_known(tmp_path: Path, step: int | None) -> None:
    copied = weights(tmp_path / "model" / "model.safetensors", step)
    tutorial = weights(tmp_path / "step-600000.safetensors", step)
    for file in (copied, tutorial):
        assert stages_behind(file) == [Stage(str(file))]


def test_a_setting_is_one_whatever_the_seed(tmp_path: Path) -> None:
    told = {"a": (0, 1e-3), "b": (1, 1e-3), "c": (0, 2e-3)}
    runs = [made_run(tmp_path / name, 10, seed=seed, rate=rate) for name, (seed, rate) in told.items()]
    a, b, c = (stages_behind(run / "model" / "model.safetensors")[0].kind for run in runs)
    assert a == b != c
    assert a is not None


def kind(run: Path, file: str = "model/model.safetensors") -> str | None:
    return stages_behind(run / file)[-1].kind


def test_which_of_its_weights_were_taken_is_told_apart(tmp_path: Path) -> None:
    a, b = (made_run(tmp_path / name, 10, seed=seed) for seed, name in enumerate("ab"))
    for run in (a, b):
        weights(run / "checkpoints/step-00000010/model.safetensors", 10)
        for memory in ("0.1", "0.2"):
            weights(run / f"averages/memory-{memory}/model.safetensors", 10)
    checkpoint = "checkpoints/step-00000010"
    averages = (f"averages/memory-{memory}/model.safetensors" for memory in ("0.1", "0.2"))
    files = ("model/model.safetensors", f"{checkpoint}/model.safetensors", *averages)
    kinds = [kind(a, file) for file in files]
    assert len({*kinds}) == 4
    assert kinds == [kind(b, file) for file in files]
    assert kind(a, f"{checkpoint}/ema.safetensors") == kinds[0], "the average is what a run exports"
    (b / checkpoint / "ema.safetensors").unlink()
    assert kind(b, f"{checkpoint}/model.safetensors") == kinds[0], "without one it is the weights"


def test_as_many_steps_of_more_samples_are_of_another_kind(tmp_path: Path) -> None:
    a, b, c = (made_run(tmp_path / name, 10, seed=seed) for seed, name in enumerate("abc"))
    for run, more in ((b, {"samples": 480}), (c, {"flops": 1})):
        path = run / "checkpoints/step-00000010" / STATE
        path.write_text(to_json(json.loads(path.read_text()) | more))
    assert len({kind(run) for run in (a, b, c)}) == 3


WENT_ON = {"how": "resume", "step": 5}


@pytest.mark.parametrize(
    ("environment", "is_seed"),
    [
        ({"parent": None, "changed": {}}, True),
        ({"parent": {"how": "repeat", "run": "other"}, "changed": {}}, True),
        ({"parent": {"how": "repeat", "run": "other", "step": 5}, "changed": {}}, False),
        ({"parent": WENT_ON, "changed": {"optimizer.learning_rate": [1, 2]}}, False),
        ({"parent": WENT_ON, "earlier": [{"parent": WENT_ON, "changed": {"trainer.batch_size": [1, 2]}}]}, False),
        ({"parent": WENT_ON, "earlier": [{"command": ["train.py", "trainer.max_steps=20"]}]}, True),
        (
            {
                "parent": WENT_ON,
                "command": ["train.py", "resume=a", "logger=none"],
                "earlier": [{"command": ["train.py", "trainer.max_steps=20"]}],
            },
            True,
        ),
        (
            {
                "parent": WENT_ON,
                "command": ["train.py", "resume=a", "trainer.max_steps=40"],
                "earlier": [{"command": ["train.py", "trainer.max_steps=20"]}],
            },
            False,
        ),
        (
            {
                "parent": WENT_ON,
                "command": ["train.py", "-m", "trainer.max_steps=20", "sweep.resume=x"],
                "earlier": [{"command": ["train.py", "-m", "trainer.max_steps=20"]}],
            },
            True,
        ),
        ({"parent": 3, "changed": None, "command": 7, "earlier": [1]}, False),
        ({"parent": [], "command": [1, None], "earlier": {}}, True),
    ],
)
def test_what_did_not_go_all_its_way_with_one_setting_is_no_seed(
    tmp_path: Path, environment: dict[str, Any], is_seed: bool
) -> None:
    plain = made_run(tmp_path / "plain", 10, seed=0)
    other = made_run(tmp_path / "other", 10, environment=environment, seed=1)
    assert kind(other) == (kind(plain) if is_seed else None)


def test_of_a_budget_of_seconds_it_is_the_seconds(tmp_path: Path) -> None:
    def run(name: str, step: int, max_steps: int, seconds: float) -> Path:
        config: dict[str, Any] = {"budget.seconds": seconds, "trainer.max_steps": max_steps}
        return made_run(tmp_path / name, step, **config)

    whole = [run("a", 31, 31, 3.0), run("b", 44, 44, 3.0)]
    assert kind(whole[0]) == kind(whole[1]) is not None
    stopped = [run("c", 31, 60, 3.0), run("d", 44, 60, 3.0)]
    longer = run("e", 44, 44, 4.0)
    assert len({kind(other) for other in (*whole, *stopped, longer)}) == 4


def test_a_setting_is_known_of_a_run_that_has_lost_its_checkpoints(tmp_path: Path) -> None:
    rates = {"a": 1e-3, "b": 1e-3, "c": 2e-3}
    runs = [
        made_run(tmp_path / name, 10, seed=seed, optimizer={"learning_rate": rate})
        for seed, (name, rate) in enumerate(rates.items())
    ]
    for run in runs:
        shutil.rmtree(run / "checkpoints")
    a, b, c = map(kind, runs)
    assert a == b != c
    assert a is not None
