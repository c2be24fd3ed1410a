"""Train a text-to-image diffusion transformer from scratch: `python -m aaa.train [overrides]`."""

import logging
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig

from aaa.cli import run as run_command
from aaa.run.claim import have_begun, release, require_own_folder
from aaa.run.finished import finished_job
from aaa.run.sweep_job import say_which_job
from aaa.run.wandb_agent import require_agents_parameters
from aaa.training.signals import exit_code, obey

if TYPE_CHECKING:
    from omegaconf import DictConfig

logger = logging.getLogger(__name__)


def train(config: "DictConfig") -> float | None:
    """Run one training run; returns its last validation loss, for sweepers that search for the lowest."""
    folder = Path(config.output_dir)
    have_begun()
    try:
        require_own_folder(config)
        require_agents_parameters(config, HydraConfig.get().runtime.choices)
        if (done := finished_job(folder, config)) is not None:
            logger.info("%s", done.said_of(folder))
            return done.validation_loss
        say_which_job({})
        signum, loss = recipe(config)
    finally:
        release(folder)
    obey(signum)  # what ended the run early may end the process, or start the run again
    return loss


def recipe(config: "DictConfig") -> tuple[int | None, float | None]:
    """Put a run together from its parts, and train it; each part can be made and used alone (docs/notebook.md).

    The order has reasons: what cannot be is refused before pictures are encoded, which may take hours; what fits and
    how long a step takes is tried before anything is compiled; a checkpoint is loaded once all that it is of exists.

    Returns:
        The signal that ended the run early, and the last validation loss; None where there was none.
    """
    from aaa.config.checks import check_config

    check_config(config)  # before torch is loaded, which takes seconds
    from aaa.assembly.build import build
    from aaa.assembly.parts import build_objective, build_sampling
    from aaa.evaluation.each_part import for_parts
    from aaa.run.before_data import try_parts
    from aaa.run.callbacks import RunCallbacks, callbacks_of, make_drawer, open_guide
    from aaa.run.extras import open_extras
    from aaa.run.latent_loader import LatentLoader, hold_near
    from aaa.run.learner import make_learner, place_model, start_model
    from aaa.run.length import plan_length
    from aaa.run.machines import require_same_config
    from aaa.run.origin import open_origin
    from aaa.run.own_prompts import open_own_prompts
    from aaa.run.recorder import Recorder
    from aaa.run.requirements import require_outcome
    from aaa.run.resolved import resolve
    from aaa.run.resuming import resume
    from aaa.run.run import Run
    from aaa.run.run_data import open_run_data
    from aaa.run.session import open_session
    from aaa.run.trial import Trial
    from aaa.training.loop import Hooks, fit

    with open_session(config) as session, ExitStack() as closed_at_the_end:
        require_same_config(resolve(config), session.processes)  # machines may have been told different things
        origin = open_origin(config, session)  # the run's folder, and the checkpoint that it goes on from, if any
        if origin.finished is not None:
            logger.info("%s is finished: there is nothing left to do.", origin.folder.shown)
            return None, origin.finished.validation_loss
        model, stages = start_model(config, origin)  # with the weights that a new run starts from, on the CPU
        sampling = build_sampling(config)  # how pictures are drawn: along which noise levels, how guided
        run_logger = build(config, "logger") if session.is_main else None  # the others write nothing down
        try_parts(config, model, sampling.guidance)  # what needs no data, and may be wrong
        data = open_run_data(config, session, origin)  # latents, prompt_embeds, who is held out
        own_prompts = open_own_prompts(config, session, data)  # to draw beside the data's, embedded; mostly None
        objective = build_objective(config, data.cache.empty_prompt_embeds.to(session.device, session.dtype))
        open_extras(data, objective, session.device)  # the cache gets what terms of the loss compare with, if any
        open_guide(config, session, data, sampling)  # another model that steers, if any: memory has to hold it too
        placed = place_model(config, model, session)  # on its device, the average of its weights beside it
        hold_near(data.cache, session.device)  # latents in a GPU's memory, if they take little of it
        trial = Trial(placed.model, objective, data.cache, session)  # passes that leave nothing behind
        length = plan_length(config, trial, data, origin)  # batch size, steps, schedule
        loader = LatentLoader(
            data.cache,
            data.train_records,
            length.batch_size,
            config.trainer.gradient_accumulation_steps,
            config.seed,
            session.device,
            began_at=origin.samples,
        )
        closed_at_the_end.enter_context(closing(loader))  # it may read ahead beside us
        learner = make_learner(config, placed, objective, session)  # with its optimizer
        progress = resume(config, origin, learner, data, length)  # loads the checkpoint, if there is one
        run = Run(config, session, origin, data, loader, objective, learner, length, progress, own_prompts, stages)

        drawer = make_drawer(run, sampling)
        evaluation = for_parts(build(config, "evaluation"), data.records_of_parts, data.spans_of_parts)
        if session.is_main:
            require_outcome(run, evaluation, drawer)
        with Recorder(run, run_logger) as recorder:
            # All processes validate, draw and evaluate together; the first, which has the tracker, writes it down.
            judging = RunCallbacks(run, recorder.tracker, drawer, evaluation)
            looks = callbacks_of(run, judging)
            hooks = Hooks(looks, recorder.save, recorder.log, run.anomaly_log().report, learner.looking)
            signum = fit(run.trainee(), run.loop_settings, hooks, progress, session.signals)
            recorder.finish(signum, exit_code(signum))  # exports the model of a run that came to its end
    return signum, judging.last_validation_loss


def main() -> None:
    """Entry point of `aaa-train`."""
    run_command(train, "train")


if __name__ == "__main__":
    main()
