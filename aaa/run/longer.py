"""What a run shares with a longer one: its learning rates up to a step, and the checkpoint that both go on from."""

import logging
from bisect import bisect_left
from collections.abc import Callable, Sequence
from pathlib import Path

from aaa.config.commands import train_command
from aaa.config.trust import foreign_targets, read_yaml_config
from aaa.run.going_on import Before
from aaa.saved.checkpoint_folders import checkpoints, step_of
from aaa.saved.named_model import COMPOSED
from aaa.tracking.printed import shown
from aaa.training.lr_schedules import Schedule

logger = logging.getLogger(__name__)

TRUST = ["trust_config=true"]


def warn_of_schedule(
    before: Before, make: Callable[[int], Schedule], max_steps: int, learning_rate: float, so_long: Sequence[str]
) -> None:
    """Say so where the steps so far had other learning rates than a run of `max_steps` gives them.

    Args:
        before: the run so far.
        make: the schedule of a run of so many steps.
        max_steps: that the run is to take in all.
        learning_rate: that the schedule multiplies.
        so_long: the arguments that make a run of so many steps; what trusts its code is added.
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


def longer_from(run: Path, step: int | None, so_long: Sequence[str]) -> str | None:
    """The command that makes a run longer from the checkpoint of a step, in a new folder; None if it is not kept.

    Args:
        run: its folder.
        step: of the checkpoint.
        so_long: the arguments that say how long; what trusts its code is added.
    """
    kept = [path for path in checkpoints(run) if step_of(path) == step]
    return _longer_command(kept[0], so_long) if kept else None


def trust_to_go_on(run: Path) -> list[str]:
    """What a command needs that goes on with a run of code which is not ours, or does it again."""
    config = run / COMPOSED
    return TRUST if config.is_file() and foreign_targets(read_yaml_config(config)) else []


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
        anew = train_command(*so_long, *trust_to_go_on(before.run), repeat=shown(before.run))
        return f"No checkpoint from before step {agreeing + 1} is kept, where the two part. To train anew: {anew}"
    return f"To go on from where the two part, in a new folder: {_longer_command(parting, so_long)}"


def _longer_command(checkpoint: Path, so_long: Sequence[str]) -> str:
    return train_command(*so_long, *trust_to_go_on(checkpoint.parent.parent), repeat=shown(checkpoint))
