"""What a run that goes on has behind it, and what of its settings is different now."""

import logging
import re
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from aaa.config.leaves import leaves
from aaa.config.routing import OF_FUSION as FUSING
from aaa.config.routing import SPRINT
from aaa.config.schema import ModelConfig, RoutingConfig
from aaa.config.trust import read_yaml_config
from aaa.config.upgrade import IMPLIED
from aaa.errors import UserError
from aaa.run.claim import shown
from aaa.run.folder import CONFIG
from aaa.saved.checkpoint import State, load_settings, load_state
from aaa.saved.checkpoint_folders import CHECKPOINTS, FOLDER, checkpoints, damage, step_of
from aaa.tracking.printed import setting, train_command
from aaa.tracking.tracker import METRICS, read_metrics
from aaa.training.lr_schedules import Schedule

logger = logging.getLogger(__name__)

# What shapes the weights, as prefixes of dotted keys ...
SHAPING = (
    *(
        "seed",
        "init_from",
        "model.",
        "data.",
        "encoder.",
        "scheduler.",
        "objective.",
        "routing.",
        "optimizer.",
        "lr_scheduler.",
        "validation.",
    ),
    *("budget.", "trainer.max_steps", "trainer.batch_size", "trainer.gradient_accumulation_steps", "trainer.precision"),
    *(
        "trainer.max_grad_norm",
        "trainer.ema_",
        "trainer.base_batch_size",
        "trainer.prompt_dropout",
        "trainer.trim_prompts",
    ),
    *("trainer.on_nonfinite", "processes"),
)
# ... and what of that does not.
SHAPELESS = (
    *("model.name", "model.init", "data.name", "data.cache_dir", "data.skip_unreadable", "data.license"),
    *("data.attribution", "encoder.name", "encoder.batch_size", "encoder.vae.latent_"),
)
# What the latents that a run is trained on are made with: with another, they are not encoded only to be refused.
OF_LATENTS = ("data.resolution", "data.buckets", "data.max_aspect_ratio", "encoder.downscale_factor")
# What of routing=sprint shapes the model itself.
KIND = "routing.kind"
OF_FUSION = tuple(f"routing.{key}" for key in FUSING)
# Keys of the trainer that came later, null where they do nothing.
NEW_OF_TRAINER = ("base_batch_size", "ema_memory")
# Told apart by their own messages.
EXPECTED = ("trainer.max_steps", "budget.")


@dataclass(frozen=True)
class Before:
    """What a run that goes on has behind it.

    Attributes:
        checkpoint: that it goes on from.
        state: what the checkpoint says.
        samples: that were trained on.
        flops: of that training; None where only samples were counted.
        settings: that it was trained with, by dotted key.
    """

    checkpoint: Path
    state: State
    samples: int
    flops: int | None
    settings: Mapping[str, Any]

    @property
    def run(self) -> Path:
        """The folder of the run whose checkpoint it is."""
        return self.checkpoint.parent.parent


def read_before(checkpoint: Path) -> Before:
    """What the run behind a checkpoint was.

    Raises:
        UserError: if the checkpoint's state is damaged.
    """
    state, run = load_state(checkpoint), checkpoint.parent.parent
    settings = load_settings(checkpoint)
    if settings is None:  # of an earlier version: the run's last config is the best that there is
        recorded = read_yaml_config(run / CONFIG) if (run / CONFIG).is_file() else OmegaConf.create({})
        settings = shaping_settings(OmegaConf.to_container(recorded, resolve=False))
    settings = taken_for_granted() | settings
    samples = state.samples
    if samples is None:
        samples = _counted_samples(run, state, settings.get("trainer.batch_size"))
    return Before(checkpoint, state, samples, state.flops, settings)


def taken_for_granted() -> dict[str, Any]:
    """What settings were before there were keys for them: those of earlier versions' runs do not say."""
    schemas = OmegaConf.structured({"model": ModelConfig, "routing": RoutingConfig})
    defaults = {
        group: {key: node[key] for key in map(str, node) if not OmegaConf.is_missing(node, key)}
        for group, node in schemas.items()
    }
    settings = shaping_settings(
        defaults | {"objective": IMPLIED["objective"], "trainer": dict.fromkeys(NEW_OF_TRAINER)}
    )
    return {key: value for key, value in settings.items() if "${" not in str(value)}


def branch_checkpoint(repeat: str | None) -> Path | None:
    """The checkpoint that `repeat=` names instead of a run, or None.

    Raises:
        UserError: if it is damaged.
    """
    path = None if repeat is None else Path(repeat).absolute()
    if path is None or not FOLDER.fullmatch(path.name) or path.parent.name != CHECKPOINTS:
        return None
    if (problem := damage(path)) is not None:
        raise UserError(f"repeat={repeat}: this checkpoint is damaged: {problem}.")
    return path


def shaping_settings(resolved: Any, **more: Any) -> dict[str, Any]:
    """What of a resolved config shapes the weights, by dotted key."""
    return {
        k: v
        for k, v in (dict(leaves(resolved)) | more).items()
        if k.startswith(SHAPING) and not _alone(k).startswith(SHAPELESS)
    }


def _alone(key: str) -> str:
    """What a key of a part of data=mixture is called where that data is alone."""
    return re.sub(r"^data\.parts\.[^.]+\.", "data.", key)


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Settings that both know and that are not the same, with their values before and now."""
    return {
        key: (before[key], value)
        for key, value in now.items()
        if key in before and before[key] != value and not key.startswith(EXPECTED)
    }


def describe_changes(changed: Mapping[str, tuple[Any, Any]]) -> str:
    """`optimizer.learning_rate 0.005 -> 0.001; seed 0 -> 1`."""
    return "; ".join(f"{key} {old} -> {new}" for key, (old, new) in changed.items())


def refuse_senseless(before: Before, now: Mapping[str, Any]) -> None:
    """Refuse changes that do not go with weights that are trained already.

    Raises:
        UserError: naming the key, and what to do.
    """
    for key, (old, new) in changed_settings(before.settings, now).items():
        if key == "model.internal_head":
            raise UserError(
                f"objective.terms.internal: the {before.state.step} steps so far were trained with "
                f"{setting(key, old)}, and not {setting(key, new)} as this makes it: another model. Leave the head to "
                f"the term, {setting(key, old)}, or train a new run."
            )
        anew = f"Set it back, or train a new run: {train_command(setting(key, new), repeat=shown(before.run))}"
        trained = f"{key}={new}: the {before.state.step} steps so far were trained with {key}={old}"
        if key.startswith("model.") or (key in OF_FUSION and SPRINT in (before.settings.get(KIND), now.get(KIND))):
            raise UserError(f"{trained}, and their weights are of no use to another model. {anew}")
        if key in OF_LATENTS:
            raise UserError(f"{trained}: its latents would be others. {anew}")
        if key == "init_from":
            raise UserError(f"{key}={new}: the run has weights of its own by now, those of step {before.state.step}.")
        if _alone(key) == "data.validation_fraction" and float(new or 0) > float(old or 0):
            raise UserError(f"{trained}: of what would be held out now, some was trained on. {anew}")


def warn_of_schedule(
    before: Before, make: Callable[[int], Schedule], max_steps: int, learning_rate: float, so_long: Sequence[str]
) -> None:
    """Say so where the steps so far had other learning rates than a run of `max_steps` gives them.

    Args:
        before: the run so far.
        make: the schedule of a run of so many steps.
        max_steps: that the run is to take in all.
        learning_rate: that the schedule multiplies.
        so_long: the arguments that make a run of so many steps.
    """
    agreeing = _agreeing_steps(before, make, max_steps)
    if agreeing is None:
        return
    step, meant = before.state.step, before.settings["trainer.max_steps"]
    old, new = make(meant), make(max_steps)
    was = before.state.metrics.get("train/lr", learning_rate * old(step - 1))
    logger.warning(
        "The learning rate is not that of a run of %d steps: the %d so far were trained as those of a run of %d. "
        "It was %.3g and goes on at %.3g. %s",
        max_steps,
        step,
        meant,
        was,
        learning_rate * new(step),
        _as_if_uninterrupted(before, parting_checkpoint(before, make, max_steps), agreeing, so_long),
    )


def unaffected_steps(make: Callable[[int], Schedule], max_steps: int) -> int:
    """How many steps from the start a longer run would take with the very same learning rates: those before a decay."""
    here, longer = make(max_steps), make(2 * max_steps)
    return bisect_left(range(max_steps), True, key=lambda step: here(step) != longer(step))


def parting_checkpoint(before: Before, make: Callable[[int], Schedule], max_steps: int) -> Path | None:
    """The newest checkpoint up to which the learning rates were those of a run of `max_steps`.

    None where they were so to the end, or nothing is kept from before they parted.
    """
    agreeing = _agreeing_steps(before, make, max_steps)
    if agreeing is None:
        return None
    return next((path for path in checkpoints(before.run) if step_of(path) <= agreeing), None)


def _agreeing_steps(before: Before, make: Callable[[int], Schedule], max_steps: int) -> int | None:
    """How many of the steps so far, fewer than all, had the learning rates of a run of `max_steps`; None: all had."""
    step, meant = before.state.step, before.settings.get("trainer.max_steps")
    if not isinstance(meant, int) or meant == max_steps or not step:
        return None
    old, new = make(meant), make(max_steps)
    agreeing = bisect_left(range(step), True, key=lambda s: old(s) != new(s))
    return None if agreeing == step else agreeing


def _as_if_uninterrupted(before: Before, parting: Path | None, agreeing: int, so_long: Sequence[str]) -> str:
    if parting is None:
        anew = train_command(*so_long, repeat=shown(before.run))
        return f"No checkpoint from before step {agreeing + 1} is kept, where the two part. To train anew: {anew}"
    return f"To go on from where the two part, in a new folder: {_longer_command(parting, so_long)}"


def longer_from(run: Path, step: int | None, so_long: Sequence[str]) -> str | None:
    """The command that makes a run longer from the checkpoint of a step, in a new folder; None if it is not kept.

    Args:
        run: its folder.
        step: of the checkpoint.
        so_long: the arguments that say how long.
    """
    kept = [path for path in checkpoints(run) if step_of(path) == step]
    return _longer_command(kept[0], so_long) if kept else None


def _longer_command(checkpoint: Path, so_long: Sequence[str]) -> str:
    return train_command(*so_long, repeat=shown(checkpoint))


def _counted_samples(run: Path, state: State, batch_size: Any) -> int:
    """Samples of a run whose checkpoint does not say: its metrics do, and its batch size of those since."""
    if "samples" in state.metrics:
        return int(state.metrics["samples"])
    rows = [row for row in read_metrics(run / METRICS) if 0 < row["step"] <= state.step and "samples" in row]
    step, samples = (rows[-1]["step"], int(rows[-1]["samples"])) if rows else (0, 0)
    if not isinstance(batch_size, int):
        batch_size = samples // step if step else 0
    return samples + (state.step - step) * batch_size
