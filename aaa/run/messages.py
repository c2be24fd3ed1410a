"""What a run says of itself when it starts and when it ends."""

import logging
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from aaa.config.choices import brought_along, describe
from aaa.config.commands import compare_command, sample_command, train_command
from aaa.config.mixture import shares_of
from aaa.config.objective import unread_settings
from aaa.config.overrides import key_of
from aaa.config.trust import read_yaml_config
from aaa.data.mixed_order import MixedRecords
from aaa.devices import describe_device
from aaa.models.costs import TRAINING_FLOPS
from aaa.run.budget import unread_steps
from aaa.run.earlier_sweep import SAME_SWEEP
from aaa.run.length import unreached_rate
from aaa.run.longer import TRUST, trust_to_go_on
from aaa.run.run import Run
from aaa.run.sweep_job import is_of_sweep
from aaa.saved.models import foreign_to_sampling
from aaa.saved.named_model import RUN_CONFIG
from aaa.tracking.durations import duration
from aaa.tracking.tracker import METRICS, last_of, read_metrics
from aaa.training.parameter_groups import group_rates
from aaa.training.signals import ENOUGH

logger = logging.getLogger(__name__)


def announce(run: Run) -> None:
    """Model, data, device and folder."""
    train, held_out = len(run.data.train_records), len(run.data.held_out)
    logger.info(
        "%s: %s parameters, %.2f GFLOP forward a picture; %d records to train on, %d held out; on %s",
        run.config.model.name,
        f"{run.parameters:,}",
        run.length.flops_per_sample / TRAINING_FLOPS / 1e9,
        train,
        held_out,
        describe_device(run.session.device),
    )
    if isinstance(mixed := run.data.train_records, MixedRecords):
        shares = shares_of(run.config.data)
        told = (
            f"{part.name} {shares[part.name]:.3g}% ({len(part.train)} records, {len(part.held_out)} held out)"
            for part in mixed.parts
        )
        logger.info("Samples are mixed by weight: %s", ", ".join(told))
    composed = HydraConfig.get()
    if brought := brought_along(composed.runtime.choices, composed.overrides.task):
        logger.info("Chosen along with it: %s. Each can be overridden.", describe(brought))
    rates = group_rates(run.learner.optimizer)
    listed = ", ".join(f"{name} {rate:.3g}" for name, rate in rates.items())
    logger.info("Learning rate of parameters, which the schedule multiplies: %s", listed)
    if not held_out:
        logger.info("No records are held out: no validation loss.")
    typed = {key_of(override) for override in composed.overrides.task}
    unreached = unreached_rate(run.config, run.length)
    unread = [*unread_settings(run.config, typed), *unread_steps(run.config, typed)]
    for setting in [*unread, *([] if unreached is None else [unreached])]:
        logger.warning("%s.", setting)
    if composed.runtime.choices.get("trainer") == "gpu" and run.session.device.type == "cpu":
        logger.warning(
            "trainer=gpu is meant for a GPU, and this run is on a CPU, where its steps take long. trainer=quick?"
        )
    logger.info("Run folder: %s", run.origin.folder.shown)
    if run.config.data.attribution:
        logger.info("Attribution of the data: %s", run.config.data.attribution)


def say_what_next(
    folder: Path,
    prompt: str,
    *,
    steps: int,
    signum: int | None,
    so_long: Sequence[str] = (),
    longer: str | None = None,
) -> None:
    """What has come of it, where its pictures are, and the commands that one wants now.

    Args:
        folder: of the run, as it is shown.
        prompt: one that the model knows.
        steps: taken so far.
        so_long: the arguments that make a run of twice as many steps.
        signum: what ended the run early, or None: it came to its end.
        longer: the command that trains for twice as long, where that is not to resume.
    """
    if signum is not None:
        # A run that a sweep has given up is not gone on with by the sweep.
        the_sweep = is_of_sweep() and signum != ENOUGH
        how = SAME_SWEEP if the_sweep else train_command(*trust_to_go_on(folder), resume=folder)
        logger.info("Stopped at step %d. To go on%s: %s", steps, " with the sweep" if the_sweep else "", how)
        return
    samples = [folder / "samples" / f"step-{steps:08d}{ending}.png" for ending in ("", "-prompts")]
    logger.info(
        "Done%s: %s%s\n  sample:  %s\n  longer:  %s\n  compare: %s",
        _outcome(folder),
        folder,
        "".join(f"\n  look:    {file}" for file in samples if file.is_file()),
        sample_command(folder, prompt, *_trust_to_sample(folder)),
        longer or train_command(*so_long, *trust_to_go_on(folder), resume=folder),
        compare_command([folder.parent]),
    )


def _outcome(folder: Path) -> str:
    """How long a run has trained, and what its validation loss is, as far as it is written down."""
    metrics = read_metrics(folder / METRICS)
    seconds, loss = (last_of(metrics, name) for name in ("seconds", "val/loss"))
    told = [] if seconds is None else [f" in {duration(seconds)} of training"]
    return ", ".join([*(told or [""]), *([] if loss is None else [f"validation loss {loss:.4f}"])])


def _trust_to_sample(folder: Path) -> list[str]:
    config = folder / RUN_CONFIG
    if not config.is_file():
        return []
    return TRUST if foreign_to_sampling(OmegaConf.to_container(read_yaml_config(config))) else []  # type: ignore[arg-type]
