"""Sweeps as a user types them, with each sweeper and launcher."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from aaa.tracking.recorded_overrides import overrides_of_run
from tests.e2e.conftest import SMALL, Finished, fork_in, metrics, run_in

TINY = [
    *SMALL,
    "model.depth=1",
    "trainer.max_steps=6",
    "trainer.validate_every_steps=2",
    "trainer.sample_every_steps=0",
    "logger=none",
    "evaluation=none",
    "name=swept",
]
TINY = [argument for argument in TINY if argument != "evaluation.num_images=8"]


def sweep(folder: Path, *arguments: str) -> Finished:
    return fork_in(folder, "aaa.train", "-m", *TINY, *arguments)


def sweep_by_plug_in(folder: Path, *arguments: str) -> Finished:
    """In an interpreter of its own, as launchers start processes from theirs."""
    return run_in(folder, "aaa.train", "-m", *TINY, *arguments)


def runs(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("outputs/swept/*/*/config.yaml"))


@pytest.mark.slow
def test_a_sweep_goes_on_after_a_failure_and_again_with_what_is_missing(tmp_path: Path) -> None:
    rates = "optimizer.learning_rate=1e30,1e-3,2e-3"
    first = sweep(tmp_path, rates)
    assert first.code == 1
    assert "with overrides" not in first.err, "which Hydra prints as they are, secrets included"
    assert first.err.count("The loss became nan") == 1
    folder = runs(tmp_path)[0].parent.relative_to(tmp_path)
    assert first.out[first.out.rindex("Sweep") :] == (
        f"Sweep: 2 of 3 runs are finished in {folder}\n"
        "  not finished: 0 (optimizer.learning_rate=1e+30)\n"
        "  to go on: the same command with sweep.resume=true\n"
        f"  compare: python -m aaa.compare {folder}\n"
    )
    assert [(run / "model").is_dir() for run in runs(tmp_path)] == [False, True, True]
    before = (runs(tmp_path)[1] / "metrics.jsonl").read_bytes()
    again = sweep(tmp_path, rates, "sweep.resume=true")
    assert again.err.count("is finished: skipped") == 2
    assert "1 run planned" in again.out
    assert "2 of 3 runs are finished already: #1, #2." in again.out
    assert again.code == 1
    assert len(runs(tmp_path)) == 3, "in the same folder"
    assert (runs(tmp_path)[1] / "metrics.jsonl").read_bytes() == before


def test_values_can_be_spread_over_a_log_range(tmp_path: Path) -> None:
    done = sweep(tmp_path, "optimizer.learning_rate=geomspace(1e-4,1e-2,3)", "trainer.max_steps=1", "--cfg", "job")
    assert done.code == 1, "Hydra shows one config, not those of a sweep"
    done = fork_in(tmp_path, "aaa.train", *TINY, "optimizer.learning_rate=geomspace(0,1,3)")
    assert "takes two numbers above 0 and how many" in done.error


@pytest.mark.slow
def test_hopeless_runs_are_given_up_and_not_taken_up_again(tmp_path: Path) -> None:
    rates = "optimizer.learning_rate=2e-3,3e-3,1e-7"
    pruning = ["sweep.prune_after_steps=4", "sweep.prune_min_runs=2"]
    done = sweep(tmp_path, rates, *pruning)
    assert done.code == 0, done.err
    assert done.err.count("Pruned at step 4: its best validation loss") == 1
    good, also_good, hopeless = runs(tmp_path)
    assert [metrics(run)[-1]["step"] for run in (good, also_good, hopeless)] == [6, 6, 4]
    assert metrics(hopeless)[-1]["sweep/pruned"] == 1
    assert (hopeless / "checkpoints" / "step-00000004").is_dir()
    again = sweep(tmp_path, rates, *pruning, "sweep.resume=true")
    assert again.code == 0, again.err
    assert again.err.count("is finished: skipped") == 2
    assert again.err.count("is finished (pruned): skipped") == 1
    # By itself it may go on: it is the sweep that had no use for it.
    alone = fork_in(tmp_path, "aaa.train", f"resume={hopeless}")
    assert alone.code == 0, alone.err
    assert metrics(hopeless)[-1]["step"] == 6


@pytest.mark.slow
def test_depth_trades_against_width_at_constant_parameters_and_flops(tmp_path: Path) -> None:
    budget = ["budget.parameters=2e5", "budget.flops=2e10", "model.depth=1,3"]
    done = sweep(tmp_path, *budget)
    assert done.code == 0, done.err
    assert "2 runs planned" in done.out
    configs = [yaml.safe_load((run / "config.yaml").read_text()) for run in runs(tmp_path)]
    assert configs[0]["model"]["dim"] > configs[1]["model"]["dim"]
    parameters = [json.loads((run / "environment.json").read_text())["model"]["parameters"] for run in runs(tmp_path)]
    assert parameters == pytest.approx([2e5, 2e5], rel=0.15)
    spent = [metrics(run)[-2]["flops"] for run in runs(tmp_path)]
    assert spent == pytest.approx([2e10, 2e10], rel=0.05)
    assert [metrics(run)[-1]["step"] for run in runs(tmp_path)] == [c["trainer"]["max_steps"] for c in configs]
    again = sweep(tmp_path, *budget, "sweep.resume=true")
    assert again.err.count("is finished: skipped") == 2
    assert again.out.startswith("Sweep: 2 of 2 runs are finished in "), "and no plan of runs that there are not"


@pytest.mark.slow
def test_a_run_of_so_many_seconds_goes_on_to_the_step_it_was_to_have(tmp_path: Path) -> None:
    timed = [*TINY, "trainer.save_every_steps=2"]
    done = fork_in(tmp_path, "aaa.train", *timed, "budget.seconds=0.5")
    assert done.code == 0, done.err
    (run,) = (path.parent for path in tmp_path.glob("outputs/swept/*/config.yaml"))
    steps = yaml.safe_load((run / "config.yaml").read_text())["trainer"]["max_steps"]
    assert metrics(run)[-1]["step"] == steps
    finished = fork_in(tmp_path, "aaa.train", f"resume={run}")
    assert f"has already taken {steps} of trainer.max_steps={steps}" in finished.error
    both = fork_in(tmp_path, "aaa.train", *timed, "budget.seconds=1", "budget.flops=1e9")
    assert "only one of them can" in both.error
    little = fork_in(tmp_path, "aaa.train", *timed, "budget.parameters=10")
    assert "even the narrowest model" in little.error


def test_a_plan_is_shown_and_nothing_run(tmp_path: Path) -> None:
    done = run_in(tmp_path, "aaa.plan", "-m", *TINY, "model.heads=2,5")
    assert done.code == 0, done.err
    assert "2 runs planned" in done.out
    assert "model.heads=5 does not divide model.dim=64" in done.out
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_a_plug_in_that_is_not_installed_is_named(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    (hidden / "hydra_plugins").mkdir(parents=True)
    (hidden / "hydra_plugins" / "__init__.py").write_text("")  # takes the place of those that are installed
    done = run_in(tmp_path, "aaa.train", "-m", "sweep=optuna", PYTHONPATH=str(hidden))
    assert 'is not installed: pip install -e ".[sweeps]"' in done.error
    done = run_in(tmp_path, "aaa.train", "-m", "sweep=slurm", PYTHONPATH=str(hidden))
    assert 'is not installed: pip install -e ".[cluster]"' in done.error


@pytest.mark.slow
def test_joblib_runs_several_at_once_and_shares_threads_out(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    done = sweep_by_plug_in(tmp_path, "sweep=joblib", "seed=0,1")
    assert done.code == 0, done.err
    devices = [json.loads((run / "environment.json").read_text())["device"] for run in runs(tmp_path)]
    cpus = json.loads((runs(tmp_path)[0] / "environment.json").read_text())["cpus"]
    assert devices == [f"cpu ({max(cpus // 2, 1)} threads)"] * 2


@pytest.mark.slow
def test_optuna_searches_and_goes_on_with_its_study(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    space = ["optimizer.learning_rate=tag(log,interval(1e-4,1e-2))", "model.mlp_ratio=choice(1,3)"]
    for sampler in ("optuna", "random"):
        done = sweep_by_plug_in(tmp_path, f"sweep={sampler}", "hydra.sweeper.n_trials=3", *space)
        assert done.code == 0, done.err
    study = optuna.load_study(study_name="swept", storage=f"sqlite:///{tmp_path}/outputs/swept/study.db")
    assert len(study.trials) == 6
    losses = [metrics(run)[-1]["val/loss"] for run in runs(tmp_path)]
    assert sorted(trial.value for trial in study.trials) == pytest.approx(sorted(losses))
    assert all(1e-4 <= trial.params["optimizer.learning_rate"] <= 1e-2 for trial in study.trials)


def drawn(run: Path) -> list[str]:
    """What a run has of the space that is searched."""
    return [told for told in overrides_of_run(run) or () if told.startswith(("optimizer.learning_rate", "model.mlp"))]


@pytest.mark.slow
def test_a_search_at_random_goes_on_in_its_folder(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    space = ["sweep=random", "optimizer.learning_rate=tag(log,interval(1e-4,1e-2))", "model.mlp_ratio=choice(1,3)"]
    first = sweep_by_plug_in(tmp_path, *space, "hydra.sweeper.n_trials=2")
    assert first.code == 0, first.err
    before = [drawn(run) for run in runs(tmp_path)]
    shutil.rmtree(runs(tmp_path)[1] / "model")  # as if it had been killed before its end
    again = sweep_by_plug_in(tmp_path, *space, "hydra.sweeper.n_trials=3", "sweep.resume=true")
    assert again.code == 0, again.err
    assert again.err.count("is finished: skipped") == 1
    assert "Going on from step 6" in again.err
    assert "Sweep: 3 of 3 runs are finished in outputs/swept/" in again.out
    assert len(runs(tmp_path)) == 3
    assert [drawn(run) for run in runs(tmp_path)[:2]] == before


@pytest.mark.slow
def test_a_search_of_which_every_run_fails_says_so(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    done = sweep_by_plug_in(
        tmp_path, "sweep=optuna", "hydra.sweeper.n_trials=2", "optimizer.learning_rate=choice(1e30,1e31)"
    )
    assert done.code == 1
    assert len(runs(tmp_path)) == 2, "a failure does not end the search"
    assert "error: No run of the search has finished" in done.err


@pytest.mark.slow
def test_ray_runs_a_sweep_on_a_cluster_of_this_machine(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    done = sweep_by_plug_in(tmp_path, "sweep=ray", "seed=0,1")
    assert done.code == 0, done.err
    assert [(run / "model").is_dir() for run in runs(tmp_path)] == [True, True]
