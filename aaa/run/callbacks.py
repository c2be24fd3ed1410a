"""What a run looks at on its way: validation loss, sample grids, and how good the pictures are."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor, nn

from aaa.assembly.own_prompts import OwnPrompts
from aaa.assembly.parts import build_preview
from aaa.assembly.training_data import TrainingData
from aaa.config.compiling import has_one_shape
from aaa.config.overrides import key_of
from aaa.diffusion.sampling import Sampling
from aaa.evaluation.drawing import EVALUATIONS, NotFinite, PictureDrawer
from aaa.evaluation.evaluated_model import EvaluatedModel, trained_on
from aaa.evaluation.grid import make_grid
from aaa.evaluation.none import NoEvaluation
from aaa.evaluation.protocol import Evaluation, NotApplicable, judged
from aaa.evaluation.source_pictures import OriginalsGone
from aaa.evaluation.validation import loss_by_sigma, row_losses, summarise
from aaa.pipelines.guide import load_guide
from aaa.run.finished import PRUNED
from aaa.run.pruning import why_hopeless
from aaa.run.requirements import warn_if_unmeasured
from aaa.run.resolved import resolve_encoder
from aaa.run.run import Run
from aaa.run.session import Session
from aaa.run.sweep_job import is_of_sweep
from aaa.tracking.files import cannot_write, written_aside
from aaa.tracking.tracker import METRICS, Tracker, last_of, read_metrics
from aaa.tracking.validation_rows import ValidationRows, write_rows
from aaa.training.callbacks import Callback
from aaa.training.compiling import looking_uncompiled
from aaa.training.precision import ModelPrecision

logger = logging.getLogger(__name__)

LOSS = "val/loss"
TRAINED_ON, HELD_OUT = "prompts trained on", "prompts held out"  # above the halves of sample grids
OWN = "prompts of your own"  # above a grid of these


class RunCallbacks:
    """Validation, sample grids and evaluation of a run's models: the average, if there is one, and the raw weights.

    Whatever takes long may be left when a signal comes, and is done again by the run that goes on; numbers and pictures
    are only given away once they are complete.

    Every process of a launch has one, and looks at its share; the first writes down what all have seen.

    Args:
        run: says what, how often and on what.
        tracker: takes what is seen; None in the processes that only share the work.
        drawer: draws.
        evaluation: judges pictures.

    Attributes:
        last_validation_loss: of the run, which an earlier process may have measured; None if it has not validated.
    """

    def __init__(self, run: Run, tracker: Tracker | None, drawer: PictureDrawer, evaluation: Evaluation) -> None:
        self.run, self.tracker, self.drawer, self.evaluation = run, tracker, drawer, evaluation
        self.models, self.table, self.records = run.learner.judged, run.data.table, run.data.records
        self.session, self.folder = run.session, run.origin.folder.path
        self.signals = run.session.signals
        self._has_judged = False
        self.last_validation_loss: float | None = last_of(read_metrics(self.folder / METRICS), LOSS)

    def validate(self, step: int) -> None:
        """Log the validation losses."""
        if self.table is None:
            return
        losses: dict[str, Tensor] = {}
        with self.signals.interruptible():
            for suffix, model in self.models.items():
                with self.session.accelerator.autocast():
                    losses[suffix] = row_losses(
                        model.eval(),
                        self.drawer.sampling,
                        self.table,
                        self.session.device,
                        self.session.dtype,
                        self.session.processes,
                    )
        metrics = {
            name + suffix: value
            for suffix, of_model in losses.items()
            for name, value in summarise(of_model, self.table).items()
        }
        self.last_validation_loss = metrics[LOSS]
        if self.tracker is not None:
            self._write_validation(self.tracker, step, metrics, next(iter(losses.values())))

    def _write_validation(self, tracker: Tracker, step: int, metrics: dict[str, float], losses: Tensor) -> None:
        """Give away the metrics of all models and the losses of the first, and give a hopeless run up."""
        assert self.table is not None
        keys = [self.table.cache.records[record].key for record in self.table.records.tolist()]
        sigmas, digest, content = self.table.sigmas.tolist(), self.table.digest, self.table.content
        write_rows(self.folder, ValidationRows(step, digest, keys, sigmas, losses.tolist(), content))
        logger.info(
            "Step %d: validation loss %.4f, %.1f%% of what seeing no structure gives",
            step,
            metrics[LOSS],
            100 * metrics["val/loss_relative"],
        )
        tracker.log(step, metrics)
        tracker.log_histogram(step, "val/loss_by_sigma", *loss_by_sigma(self.table.sigmas, losses))
        sweep = self.run.config.sweep
        # After the last step there is nothing left to save, and a run that is given up exports no model.
        goes_on = step < self.run.length.max_steps
        if goes_on and is_of_sweep() and sweep.prune_after_steps is not None:
            reason = why_hopeless(self.folder, step, after_steps=sweep.prune_after_steps, min_runs=sweep.prune_min_runs)
            if reason is not None:
                logger.info("%s", reason)
                tracker.log(step, {PRUNED: 1.0})
                self.signals.stop()

    def sample(self, step: int) -> None:
        """Draw and save a grid of pictures with each model, and one of prompts of one's own, if there are any."""
        sampling, own = self.run.config.sampling, self.run.own_prompts
        held_out = self.records["validation"][: sampling.num_images // 2]
        records = torch.cat([trained_on(self.records)[: sampling.num_images - len(held_out)], held_out])
        for suffix, model in self.models.items():
            try:
                with self.signals.interruptible():
                    drawn = self.drawer.draw(model.eval(), records)
                    pictures = self._draw_own(model, own)
            except NotFinite as why:
                self._warn("Step %d: a grid of pictures is left out. %s", step, why)
                continue
            of_half = {0: TRAINED_ON, len(records) - len(held_out): HELD_OUT} if len(held_out) else {0: TRAINED_ON}
            self._show(step, f"pictures{suffix}", suffix, drawn.images, drawn.prompts, of_half)
            if own is not None:
                self._show(step, f"prompts{suffix}", f"-prompts{suffix}", pictures, own.prompts, {0: OWN})

    def _draw_own(self, model: nn.Module, own: OwnPrompts | None) -> list[Image.Image]:
        """Pictures of prompts of one's own, of the size that training pictures are cut to."""
        if own is None:
            return []
        data, encoder = self.run.config.data, self.run.config.encoder
        side = data.resolution // encoder.downscale_factor
        return self.drawer.draw_prompts(model, own.prompt_embeds, (encoder.latent_channels, side, side))

    def _show(
        self,
        step: int,
        name: str,
        ending: str,
        images: Sequence[Image.Image],
        prompts: Sequence[str],
        headings: Mapping[int, str],
    ) -> None:
        """Save a grid of pictures, its file named by the step and this ending, and log them under this name."""
        if self.tracker is None:
            return
        file = f"step-{step:08d}{ending.replace('_', '-')}.png"
        self._save(self.folder / "samples" / file, make_grid(images, prompts, headings=headings))
        self.tracker.log_images(step, name, images, prompts)

    def evaluate(self, step: int) -> None:
        """Log how good pictures are, and keep what there is to look at."""
        if isinstance(self.evaluation, NoEvaluation):
            return
        model, sources = next(iter(self.models.values())).eval(), self.run.data.source_pictures
        evaluated = EvaluatedModel(model, self.drawer, self.records, source_pictures=sources)
        if self.tracker is not None:
            logger.info("Step %d: drawing pictures to judge them", step)
        try:
            with self.signals.interruptible():
                metrics = judged(self.evaluation, evaluated)
        except NotApplicable as why:
            self._warn("The evaluation has nothing to say: %s", why)
            return
        except (NotFinite, OriginalsGone) as why:  # the run has a model all the same, to be looked into
            self._warn("Step %d: the evaluation is left out. %s", step, why)
            return
        if self.tracker is None:
            return
        for name, picture in evaluated.kept.items():
            self._save(self.folder / "evaluation" / f"step-{step:08d}-{name}.png", picture)
            self.tracker.log_images(step, f"evaluation/{name}", [picture], [f"step {step}"])
        if metrics:
            self.tracker.log(step, metrics | {EVALUATIONS: self.drawer.evaluations})
            if not self._has_judged:
                warn_if_unmeasured(self.run.config, metrics)
            self._has_judged = True

    def _warn(self, message: str, *about: object) -> None:
        """Warn once, of several processes that all find the same."""
        if self.tracker is not None:
            logger.warning(message, *about)

    def _save(self, path: Path, picture: Image.Image) -> None:
        try:
            path.parent.mkdir(exist_ok=True)
            with written_aside(path) as aside:
                picture.save(aside, "PNG")
        except OSError as error:
            raise cannot_write(path, error) from None


def open_guide(config: DictConfig, session: Session, data: TrainingData, sampling: Sampling) -> None:
    """Load the model that is to guide a run's pictures, if one is, in the precision that the run trains in.

    Raises:
        UserError: if there is no such model, or it does not fit.
    """
    precision = ModelPrecision(config.trainer.precision, session.device)
    load_guide(sampling.guidance, resolve_encoder(config, data), precision, trust_config=_is_trusted(config))


def _is_trusted(config: DictConfig) -> bool:
    """Whether whoever started the run lets configs of others name any class.

    The config of a run that is named, to go on with or to repeat, may be somebody else's and say so by itself.
    """
    is_ones_own = config.repeat is None and config.resume in (None, "auto")
    return bool(config.trust_config) and (
        is_ones_own or "trust_config" in map(key_of, HydraConfig.get().overrides.task)
    )


def make_drawer(run: Run, sampling: Sampling) -> PictureDrawer:
    """What draws a run's pictures, in the precision that the run trains in; `open_guide` has loaded what guides."""
    config, preview = run.config, run.config.sampling.preview
    precision = ModelPrecision(config.trainer.precision, run.session.device)
    vae = run.data.vae if preview is None else build_preview(run.data.vae, preview)
    seed, processes = config.sampling.seed, run.session.processes
    return PictureDrawer(run.data.cache, vae, sampling, seed=seed, precision=precision, processes=processes)


def callbacks_of(run: Run, judging: RunCallbacks) -> list[Callback]:
    """What happens every so often; before training goes on, all processes wait until the first has written it down."""
    trainer = run.config.trainer
    every = {
        "validate": trainer.validate_every_steps,
        "sample": trainer.sample_every_steps,
        "evaluate": trainer.evaluate_every_steps or run.length.max_steps,
    }
    looks = {"validate": judging.validate, "sample": judging.sample, "evaluate": judging.evaluate}
    run_as = looking_uncompiled if has_one_shape(trainer.compile) else _as_it_is

    def look(at: Callable[[int], None], step: int) -> None:
        at(step)
        run.session.processes.wait()

    return [Callback(name, steps, partial(look, run_as(looks[name]))) for name, steps in every.items()]


def _as_it_is(look: Callable[[int], None]) -> Callable[[int], None]:
    return look
