"""Searches: a run has to return a value, and a study that is found under a name has to ask the same question."""

import json
import logging
import sys
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf, open_dict

from aaa.config.leaves import leaves
from aaa.errors import UserError
from aaa.tracking.redaction import without_secrets

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from optuna.study import Study

logger = logging.getLogger(__name__)

BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
AT_RANDOM = "optuna.samplers.RandomSampler"
QUESTION = "question"  # what a study asks, among its user attributes, in pieces that any database takes
PIECE = 2000
NOTHING = str(None)  # the value of a key that is left out

# What of a config does not change the value that a run returns.
BESIDE_THE_POINT = (
    *("name", "output_dir", "resume", "repeat", "trust_config", "logger", "sampling", "checkpoint", "evaluation"),
    *("sweep", "data.cache_dir", "data.license", "data.attribution", "encoder.batch_size", "trainer.device"),
    *("trainer.compile", "trainer.log_every", "trainer.sample_every", "trainer.save_every", "trainer.evaluate_every"),
    *("trainer.cuda_graph", "trainer.collective_timeout"),
)


def jobs_of(config: "DictConfig") -> list[list[str]]:
    """The overrides of each run of a sweep by Hydra's basic sweeper."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    params = config.hydra.sweeper.params or {}
    arguments = [*(f"{key}={value}" for key, value in params.items()), *config.hydra.overrides.task]
    batches = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(arguments), None)
    return [list(overrides) for batch in batches for overrides in batch]


def require_value(config: "DictConfig", sweeper: "DictConfig", *, held_out: int | None = None) -> None:
    """Refuse a search, or a pruning, whose runs have no validation loss.

    Args:
        config: of a run, or what the runs of a sweep have in common.
        sweeper: Hydra's.
        held_out: records, where it is known how many.

    Raises:
        UserError: naming the key that says so.
    """
    searches = sweeper._target_ != BASIC
    what = "A search" if searches else f"sweep.prune_after_steps={config.sweep.prune_after_steps}"
    if not searches and config.sweep.prune_after_steps is None:
        return
    if config.trainer.validate_every_steps == 0:
        raise UserError(
            f"{what} goes by the validation loss, and trainer.validate_every_steps=0 leaves it out: give a number of "
            "steps; it is also measured after the last."
        )
    if held_out == 0:
        raise UserError(
            f"{what} goes by the validation loss, and no records are held out: "
            f"data.validation_fraction={config.data.validation_fraction} has to be above 0."
        )
    directions = sweeper.get("direction")
    if searches and OmegaConf.is_list(directions) and len(directions) != 1:
        raise UserError(
            f"hydra.sweeper.direction={list(directions)}: a run returns one value, its last validation loss."
        )


def require_same_question(config: "DictConfig") -> None:
    """Refuse to go on with a study of Optuna's that asks something else.

    Raises:
        UserError: saying what is different, and how to have another study.
    """
    sweeper = config.hydra.sweeper
    if "optuna" not in sweeper._target_ or sweeper.get("storage") is None or sweeper.get("study_name") is None:
        return
    import optuna

    try:
        study = optuna.load_study(study_name=sweeper.study_name, storage=sweeper.storage)
    except KeyError:
        study = optuna.create_study(
            study_name=sweeper.study_name,
            storage=sweeper.storage,
            direction=_direction(config),
            load_if_exists=True,  # another sweep may have begun it meanwhile
        )
    now, told = _question(config), _asked(study)
    asked = now if not study.trials else told or _guess(study, now)
    # A key that came later, with nothing in it, asks nothing else.
    if different := [key for key in sorted({*asked, *now}) if asked.get(key, NOTHING) != now.get(key, NOTHING)]:
        listed = "; ".join(f"{key} {asked.get(key)} -> {now.get(key)}" for key in different[:5])
        more = f"; and {len(different) - 5} more" if len(different) > 5 else ""
        raise UserError(
            f"The study {sweeper.study_name!r} in {sweeper.storage} is of another question, and its "
            f"{len(study.trials)} trials would lead this one astray: {listed}{more}.\n"
            "  For a study of its own: name=ANOTHER, or hydra.sweeper.study_name=ANOTHER"
        )
    if told != now:
        _write(study, now)
    if study.trials:
        logger.info("The study %r goes on: it has %d trials.", sweeper.study_name, len(study.trials))


def draws_at_random(config: "DictConfig") -> bool:
    """Whether a search draws its values whatever came out of those before, so that it can go on in its folder."""
    return bool(OmegaConf.select(config, "hydra.sweeper.sampler._target_") == AT_RANDOM)


def draw_again(config: "DictConfig") -> None:
    """Have a search at random that goes on draw for the runs in its folder what it drew before."""
    sampler = config.hydra.sweeper.sampler
    with open_dict(sampler):
        sampler._target_ = "aaa.run.drawn_again.DrawnAgain"
        sampler.sweep = config.hydra.sweep.dir


def say_how_a_study_goes_on(config: "DictConfig") -> None:
    """Say what `sweep.resume=true` is to a search whose next values depend on what came out of those before."""
    sweeper = config.hydra.sweeper
    if "optuna" in sweeper._target_:
        print(
            f"sweep.resume=true: a search goes on with its study in any case ({sweeper.storage}): "
            f"hydra.sweeper.n_trials={sweeper.n_trials} more runs, in a new folder. A run of it that was stopped goes "
            "on by itself: resume=RUN_FOLDER.",
            file=sys.stderr,
        )


def _question(config: "DictConfig") -> dict[str, str]:
    """What is searched for and over, and all that is held fixed meanwhile."""
    plain: Any = without_secrets(OmegaConf.to_container(config, resolve=False))
    sweeper = plain.pop("hydra")["sweeper"]
    flat = {"direction": _direction(config)}
    flat |= {key: str(value) for key, value in leaves(plain) if not f"{key}.".startswith(BESIDE_THE_POINT)}
    for override in OverridesParser.create().parse_overrides(list(config.hydra.overrides.task)):
        if override.is_sweep_override():
            flat[f"{override.get_key_element()} over"] = str(override.get_value_string())
    for name in ("params", "search_space"):
        flat |= {f"{key} over": str(value) for key, value in (sweeper.get(name) or {}).items()}
    return flat


def _direction(config: "DictConfig") -> str:
    direction = config.hydra.sweeper.get("direction")
    first = direction[0] if OmegaConf.is_list(direction) else direction
    return str(getattr(first, "name", first)).lower()


def _asked(study: "Study") -> dict[str, str] | None:
    pieces = [value for key, value in sorted(study.user_attrs.items()) if key.startswith(f"{QUESTION}/")]
    try:
        asked = json.loads("".join(pieces))
    except ValueError:
        return None
    return asked if isinstance(asked, dict) else None


def _write(study: "Study", question: dict[str, str]) -> None:
    text = json.dumps(question)
    pieces = [text[place : place + PIECE] for place in range(0, len(text), PIECE)]
    before = sum(key.startswith(f"{QUESTION}/") for key in study.user_attrs)
    for number, piece in enumerate([*pieces, *[""] * (before - len(pieces))]):
        study.set_user_attr(f"{QUESTION}/{number:03d}", piece)


def _guess(study: "Study", now: dict[str, str]) -> dict[str, str]:
    """The question of a study that does not say: ours, but over what its trials were over."""
    if not study.trials:
        return now
    own = {key: value for key, value in now.items() if not key.endswith(" over")}
    return own | {f"{key} over": now.get(f"{key} over", "?") for key in study.trials[-1].params}
