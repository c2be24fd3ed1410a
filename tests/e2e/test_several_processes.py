"""What several processes look at together is what one sees alone."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import SMALL, Finished, fork_in, launch_in, metrics, only_run, run_in

SmallRun = tuple[Path, Finished]


def looks(run: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The metrics of what was looked at, and the files: pictures and the table of validation."""
    numbers = {name: value for row in metrics(run) for name, value in row.items()}
    files = [*run.glob("samples/*.png"), *run.glob("evaluation/*.png"), *run.glob("validation/*.json")]
    return (
        {name: value for name, value in numbers.items() if name.startswith(("val/", "quality/", "memorisation/"))},
        {str(path.relative_to(run)): path.read_bytes() for path in files},
    )


@pytest.mark.slow
def test_a_saved_model_is_judged_by_two_processes_as_by_one(
    session_folder: Path, small_run: SmallRun, tmp_path: Path
) -> None:
    run, _ = small_run
    arguments = ["aaa.evaluate", f"model={run}", "evaluation.num_images=8", "evaluation.parts.diversity.num_prompts=2"]
    alone = fork_in(session_folder, *arguments, f"out={tmp_path / 'alone'}", OMP_NUM_THREADS="1")
    assert alone.code == 0, alone.err
    together = launch_in(session_folder, 2, *arguments, f"out={tmp_path / 'together'}")
    assert together.code == 0, together.err
    one, two = (json.loads(next((tmp_path / out).glob("*.json")).read_text()) for out in ("alone", "together"))
    assert two["metrics"] == pytest.approx(one["metrics"], rel=1e-4)
    assert (two["table"], two["weights"]) == (one["table"], one["weights"])
    names = sorted(path.name for path in (tmp_path / "alone").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "together").iterdir())
    assert together.err.count("Wrote ") == 1, "the first process speaks for all"
    assert together.err.count("pictures of one prompt differ".capitalize()) == 1


@pytest.mark.slow
def test_two_processes_see_on_their_way_what_one_sees(tmp_path: Path, small_run: SmallRun) -> None:
    """With weights that stay what they are: what is drawn of a step depends on who takes it, as ever."""
    arguments = [argument for argument in SMALL if not argument.startswith(("trainer.", "evaluation."))]
    once = [f"trainer.{what}_every_steps=1" for what in ("log", "validate", "sample", "save", "evaluate")]
    arguments += [*once, "trainer.max_steps=1", "trainer.batch_size=8", "logger=none", "evaluation=full"]
    arguments += ["evaluation.num_images=16", f"init_from={small_run[0]}", "optimizer.learning_rate=1e-30"]
    for folder, processes in (("one", 1), ("two", 2)):
        shutil.copytree(small_run[0].parents[2] / ".cache", tmp_path / folder / ".cache")
        train = ("aaa.train", *arguments)
        done = (
            run_in(tmp_path / folder, *train, OMP_NUM_THREADS="1")
            if processes == 1
            else launch_in(tmp_path / folder, processes, *train)
        )
        assert done.code == 0, done.err
    one, two = (looks(only_run(tmp_path / folder)) for folder in ("one", "two"))
    assert one[0].keys() == two[0].keys()
    assert two[0] == pytest.approx(one[0], rel=1e-5)
    assert {"samples/step-00000001.png", "validation/step-00000001.json"} <= one[1].keys()
    assert two[1] == one[1]


@pytest.mark.slow
def test_an_evaluation_may_outlast_the_limit_of_collectives(tmp_path: Path, small_run: SmallRun) -> None:
    shutil.copytree(small_run[0].parents[2] / ".cache", tmp_path / ".cache")
    arguments = [argument for argument in SMALL if not argument.startswith(("trainer.max", "evaluation."))]
    late = ["evaluation._target_=tests.helpers.plugged_in.LateEvaluation", "+evaluation.seconds=25"]
    limit = ["trainer.collective_timeout_seconds=10", "trainer.evaluate_every_steps=2", "trainer.max_steps=4"]
    root = Path(__file__).parents[2]
    done = launch_in(
        tmp_path, 2, "aaa.train", *arguments, "evaluation=none", *late, *limit, "logger=none", PYTHONPATH=str(root)
    )
    assert done.code == 0, done.err
    rows = metrics(only_run(tmp_path))
    assert [row["quality/late_by_seconds"] >= 25 for row in rows if "quality/late_by_seconds" in row] == [True, True]
    assert [row["step"] for row in rows if "train/loss" in row] == [1, 2, 3, 4]
