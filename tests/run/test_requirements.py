"""What cannot come to anything is refused before the first step."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from aaa.errors import UserError
from aaa.evaluation.diversity import Diversity
from aaa.evaluation.evaluated_model import EvaluatedModel
from aaa.evaluation.latent_distance import LatentDistance
from aaa.evaluation.memorisation import NearestTraining
from aaa.evaluation.none import NoEvaluation
from aaa.evaluation.protocol import Evaluation
from aaa.evaluation.several import Several
from aaa.evaluation.shapes import ShapesAgreement
from aaa.run.earlier_sweep import asks_to_go_on
from aaa.run.requirements import require_applicable, require_metric, warn_if_unmeasured
from aaa.run.search import BASIC, require_same_question, require_value, say_how_a_study_goes_on

OPTUNA = "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"


def config(**changed: Any) -> DictConfig:
    plain: dict[str, Any] = {
        "name": "n",
        "seed": 0,
        "trainer": {"validate_every_steps": 100, "evaluate_every_steps": 0, "max_steps": 10},
        "data": {"validation_fraction": 0.1},
        "sweep": {"prune_after_steps": None},
        "checkpoint": {"metric": "val/loss", "keep_best": 1},
        "logger": {"project": "p"},
    }
    made = OmegaConf.create(plain)
    for key, value in changed.items():
        OmegaConf.update(made, key.replace("__", "."), value, force_add=True)
    return made


@pytest.mark.parametrize(
    ("sweeper", "changed", "held_out", "message"),
    [
        (OPTUNA, {"trainer__validate_every_steps": 0}, None, "A search goes by the validation loss, and trainer.valid"),
        (OPTUNA, {}, 0, "no records are held out: data.validation_fraction=0.1 has to be above 0"),
        (OPTUNA, {}, 1, None),
        (BASIC, {"trainer__validate_every_steps": 0}, 0, None),
        (BASIC, {"trainer__validate_every_steps": 0, "sweep__prune_after_steps": 5}, None, "sweep.prune_after_steps=5"),
        (BASIC, {"sweep__prune_after_steps": 5}, 0, "no records are held out"),
        (BASIC, {"sweep__prune_after_steps": 5}, 3, None),
        (BASIC, {"sweep__prune_after_steps": 0}, 0, "no records are held out"),
    ],
)
def test_a_search_needs_a_value(
    sweeper: str, changed: dict[str, Any], held_out: int | None, message: str | None
) -> None:
    hydra = OmegaConf.create({"_target_": sweeper, "direction": "minimize"})
    if message is None:
        require_value(config(**changed), hydra, held_out=held_out)
        return
    with pytest.raises(UserError) as refused:
        require_value(config(**changed), hydra, held_out=held_out)
    assert message in str(refused.value)


def test_a_search_of_two_values_is_refused() -> None:
    hydra = OmegaConf.create({"_target_": OPTUNA, "direction": ["minimize", "maximize"]})
    with pytest.raises(UserError, match="a run returns one value"):
        require_value(config(), hydra)


VALIDATED = ["val/loss", "val/loss_relative", "val/loss_raw"]


@pytest.mark.parametrize(
    ("metric", "best", "every", "evaluation", "validated", "message"),
    [
        ("val/loss", 1, 0, NoEvaluation(), [], None),
        ("val/loss", 2, 0, NoEvaluation(), [], "nothing is validated"),
        ("val/loss_relative", 1, 0, NoEvaluation(), VALIDATED, None),
        ("val/los", 1, 0, NoEvaluation(), VALIDATED, "nothing logs this metric (did you mean 'val/loss'?)"),
        ("train/loss", 3, 0, NoEvaluation(), [], None),
        ("grad_norm/blocks.0", 3, 0, NoEvaluation(), [], None),
        ("train/accuracy", 1, 0, LatentDistance(), VALIDATED, "nothing logs this metric"),
        ("quality/seen", 1, 0, NoEvaluation(), VALIDATED, "nothing logs this metric"),
        ("quality/seen", 1, 0, LatentDistance(), VALIDATED, "the evaluation comes only at the end"),
        ("quality/seen", 1, 50, LatentDistance(), VALIDATED, None),
        ("anything", 0, 0, NoEvaluation(), [], None),
    ],
)
def test_the_best_checkpoint_needs_its_metric(
    metric: str, best: int, every: int, evaluation: Evaluation, validated: list[str], message: str | None
) -> None:
    made = config(checkpoint__metric=metric, checkpoint__keep_best=best, trainer__evaluate_every_steps=every)
    if message is None:
        require_metric(made, evaluation, validated)
        return
    with pytest.raises(UserError) as refused:
        require_metric(made, evaluation, validated)
    assert message in str(refused.value)
    assert f"checkpoint.metric={metric}" in str(refused.value)


@pytest.mark.parametrize(
    ("metric", "best", "told"),
    [
        ("quality/fid", 2, "What it has measured is called quality/fid-original, quality/kid-original"),
        ("quality/fid-original", 2, None),
        ("quality/fid", 0, None),
        ("val/loss", 1, None),
        ("train/loss", 3, None),
        ("perf/images_per_second", 3, None),
    ],
)
def test_a_best_metric_that_the_evaluation_has_not_measured_is_told(
    metric: str, best: int, told: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    made = config(checkpoint__metric=metric, checkpoint__keep_best=best)
    warn_if_unmeasured(made, ["quality/kid-original", "quality/fid-original", "quality/clip_score"])
    assert bool(caplog.messages) == (told is not None)
    if told is not None:
        (message,) = caplog.messages
        assert message.startswith(f"checkpoint.metric={metric}: the evaluation has not measured it, so no checkpoint")
        assert told in message


def evaluated(train: int, held_out: int, prompt: str = "a small red ring") -> EvaluatedModel:
    """Of so many records, which all have this prompt."""
    drawer: Any = SimpleNamespace(cache=SimpleNamespace(records=[SimpleNamespace(prompt=prompt)] * (train + held_out)))
    records: Any = {"train": torch.arange(train), "validation": torch.arange(held_out) + train}
    return EvaluatedModel(torch.nn.Linear(1, 1), drawer, records)


FULL = Several({"agreement": ShapesAgreement(8), "distance": LatentDistance(), "nearest": NearestTraining()})


@pytest.mark.parametrize(
    ("evaluation", "of", "message"),
    [
        (NoEvaluation(), evaluated(1, 0, "x"), None),
        (ShapesAgreement(8), evaluated(9, 3, "a small red ring on a white background"), None),
        (ShapesAgreement(8), evaluated(9, 3, "a dog"), "The prompts ('a dog') are not those of data=shapes"),
        (LatentDistance(), evaluated(7, 0), "Of 7 pictures no distribution can be told"),
        (LatentDistance(), evaluated(8, 0), None),
        (NearestTraining(), evaluated(9, 1), "Fewer than two records are held out"),
        (Diversity(), evaluated(1, 1), "no two different training pictures"),
        (
            FULL,
            evaluated(3, 0, "a dog"),
            "agreement: The prompts ('a dog') are not those of data=shapes. distance: Of 3",
        ),
    ],
)
def test_an_evaluation_that_cannot_apply_is_refused(
    evaluation: Evaluation, of: EvaluatedModel, message: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    if message is None:
        require_applicable(evaluation, of, resumed=False)
        return
    with pytest.raises(UserError) as refused:
        require_applicable(evaluation, of, resumed=False)
    assert message in str(refused.value)
    assert "evaluation=none" in str(refused.value)
    require_applicable(evaluation, of, resumed=True)
    assert message in caplog.text


def test_parts_of_an_evaluation_that_do_not_apply_are_told_in_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        require_applicable(FULL, evaluated(20, 0, "a dog"), resumed=False)
    (record,) = caplog.records
    assert record.message.startswith("Of the evaluation is left out: agreement: The prompts ('a dog')")
    assert "nearest: Fewer than two" in record.message


def test_a_study_is_gone_on_with_for_the_same_question_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    optuna = pytest.importorskip("optuna")
    storage = f"sqlite:///{tmp_path}/study.db"

    def ask(overrides: list[str], direction: str = "minimize", **changed: Any) -> None:
        made = config(**changed)
        sweeper = {"_target_": OPTUNA, "storage": storage, "study_name": "n", "direction": direction, "params": None}
        made.hydra = {"sweeper": sweeper, "overrides": {"task": overrides}}
        require_same_question(made)

    space = ["optimizer.learning_rate=interval(1e-4,1e-2)", "model.depth=choice(2,4)"]
    ask(space)
    study = optuna.load_study(study_name="n", storage=storage)
    study.tell(study.ask(), 1.0)
    with caplog.at_level(logging.INFO):
        ask(space, logger__project="other", sweep__show_plan=False)
    assert "The study 'n' goes on: it has 1 trials" in caplog.text
    ask(space, trainer__later=None)  # a key that there was not when the study began
    different: list[str]
    changed: dict[str, Any]
    for different, changed, told in (
        (space[:1], {}, "model.depth over choice(2,4) -> None"),
        ([*space, "seed=choice(1,2)"], {}, "seed over None -> choice(1,2)"),
        (["optimizer.learning_rate=interval(1e-3,1e-2)", space[1]], {}, "interval(1e-4,1e-2) -> interval(1e-3,1e-2)"),
        (space, {"trainer__max_steps": 20}, "trainer.max_steps 10 -> 20"),
        (space, {"seed": 1}, "seed 0 -> 1"),
    ):
        with pytest.raises(UserError, match=r"is of another question(.|\n)*name=ANOTHER") as refused:
            ask(different, "minimize", **changed)
        assert told in str(refused.value)
    with pytest.raises(UserError, match="direction minimize -> maximize"):
        ask(space, direction="maximize")


def test_a_search_says_what_resuming_it_means(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = config()
    made.hydra = {"sweeper": {"_target_": OPTUNA, "storage": f"sqlite:///{tmp_path}/study.db", "n_trials": 7}}
    say_how_a_study_goes_on(made)
    told = capsys.readouterr().err
    assert told.startswith(f"sweep.resume=true: a search goes on with its study in any case (sqlite:///{tmp_path}")
    assert "hydra.sweeper.n_trials=7 more runs, in a new folder." in told
    assert asks_to_go_on(["-m", "sweep.resume=true", "sweep=random"])
    assert not asks_to_go_on(["-m", "sweep.resume=true", "sweep=optuna"]), "of which nothing else is said"


def test_a_study_of_an_earlier_version_is_known_by_its_trials(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    storage = f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(study_name="n", storage=storage)
    trial = study.ask({"model.depth": optuna.distributions.CategoricalDistribution([2, 4])})
    study.tell(trial, 1.0)
    made = config()
    sweeper = {"_target_": OPTUNA, "storage": storage, "study_name": "n", "direction": "minimize"}
    made.hydra = {"sweeper": sweeper, "overrides": {"task": ["model.heads=choice(1,2)"]}}
    with pytest.raises(UserError, match=r"model\.depth over \? -> None; model\.heads over None -> choice\(1,2\)"):
        require_same_question(made)
    made.hydra.overrides.task = ["model.depth=choice(2,4)"]
    require_same_question(made)
