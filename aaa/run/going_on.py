"""What a run that goes on has behind it, and what it cannot change any more."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from aaa.config.commands import setting, train_command
from aaa.config.routing import OF_FUSION as FUSING
from aaa.config.routing import SPRINT
from aaa.config.schema import ModelConfig, RoutingConfig
from aaa.config.trust import read_yaml_config
from aaa.config.upgrade import IMPLIED
from aaa.errors import UserError
from aaa.run.shaping import alone, changed_settings, shaping_settings
from aaa.saved.checkpoint import State, load_settings, load_state
from aaa.saved.checkpoint_folders import CHECKPOINTS, FOLDER, damage
from aaa.saved.named_model import RUN_CONFIG
from aaa.tracking.printed import shown
from aaa.tracking.tracker import METRICS, read_metrics

# What the latents that a run is trained on are made with: with another, they are not encoded only to be refused.
OF_LATENTS = (
    "data.resolution",
    "data.buckets",
    "data.max_aspect_ratio",
    "encoder.vae.patch_size",
    "encoder.downscale_factor",
)
# What of routing=sprint shapes the model itself.
KIND = "routing.kind"
OF_FUSION = tuple(f"routing.{key}" for key in FUSING)
# Keys that came later, null where they do nothing.
NEW = {"trainer": ("base_batch_size", "ema_memory"), "data": ("keep",)}


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
        recorded = read_yaml_config(run / RUN_CONFIG) if (run / RUN_CONFIG).is_file() else OmegaConf.create({})
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
        defaults | {"objective": IMPLIED["objective"]} | {group: dict.fromkeys(keys) for group, keys in NEW.items()}
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


def refuse_senseless(before: Before, now: Mapping[str, Any]) -> None:
    """Refuse changes that do not go with weights that are trained already.

    Raises:
        UserError: naming the key, and what to do.
    """
    changed = changed_settings(before.settings, now)
    # First what has been typed, then what follows from it, such as model.in_channels.
    for key in [*(key for key in OF_LATENTS if key in changed), *(key for key in changed if key not in OF_LATENTS)]:
        old, new = changed[key]
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
        if alone(key) == "data.validation_fraction" and float(new or 0) > float(old or 0):
            raise UserError(f"{trained}: of what would be held out now, some was trained on. {anew}")


def _counted_samples(run: Path, state: State, batch_size: Any) -> int:
    """Samples of a run whose checkpoint does not say: its metrics do, and its batch size of those since."""
    if "samples" in state.metrics:
        return int(state.metrics["samples"])
    rows = [row for row in read_metrics(run / METRICS) if 0 < row["step"] <= state.step and "samples" in row]
    step, samples = (rows[-1]["step"], int(rows[-1]["samples"])) if rows else (0, 0)
    if not isinstance(batch_size, int):
        batch_size = samples // step if step else 0
    return samples + (state.step - step) * batch_size
