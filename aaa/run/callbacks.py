"""What a run looks at on its way: validation loss, sample grids, and how good the pictures are."""

import logging
from pathlib import Path

import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor, nn

from aaa.data.records import Split
from aaa.evaluation.drawing import EVALUATIONS, PictureDrawer
from aaa.evaluation.evaluated_model import EvaluatedModel
from aaa.evaluation.grid import make_grid
from aaa.evaluation.protocol import Evaluation, NotApplicable
from aaa.evaluation.validation import ValidationTable, loss_by_sigma, row_losses, summarise
from aaa.run.earlier_sweep import PRUNED
from aaa.run.pruning import why_hopeless
from aaa.tracking.files import cannot_write
from aaa.tracking.tracker import Tracker
from aaa.tracking.validation_rows import ValidationRows, write_rows
from aaa.training.signals import StopSignals

logger = logging.getLogger(__name__)


class RunCallbacks:
    """RunCallbacks at the models of a run: the average, if there is one, and the raw weights.

    Whatever takes long may be left when a signal comes, and is done again by the run that goes on; numbers and pictures
    are only given away once they are complete.

    Args:
        models: by the suffix that their metrics have.
        accelerator: for the precision that the models run in.
        table: what to validate on, or None.
        drawer: draws.
        evaluation: judges pictures.
        train_records, held_out: to draw.
        num_images: of a sample grid.
        folder: of the run.
        tracker: takes what is seen.
        signals: that may end a look.
        dtype: of the models' inputs.
        prune_after_steps, prune_min_runs: when the run of a sweep may be given up, see `why_hopeless`; None: never.
    """

    def __init__(
        self,
        models: dict[str, nn.Module],
        accelerator: Accelerator,
        table: ValidationTable | None,
        drawer: PictureDrawer,
        evaluation: Evaluation,
        train_records: Tensor,
        held_out: Tensor,
        *,
        num_images: int,
        folder: Path,
        tracker: Tracker,
        signals: StopSignals,
        dtype: torch.dtype,
        prune_after_steps: int | None,
        prune_min_runs: int,
    ) -> None:
        self.models, self.accelerator, self.dtype = models, accelerator, dtype
        self.table, self.drawer, self.evaluation = table, drawer, evaluation
        self.records: dict[Split, Tensor] = {"train": train_records, "validation": held_out}
        self.num_images, self.folder = num_images, folder
        self.tracker, self.signals = tracker, signals
        self.prune_after_steps, self.prune_min_runs = prune_after_steps, prune_min_runs
        self.last_validation_loss: float | None = None

    def validate(self, step: int) -> None:
        """Log the validation losses."""
        if self.table is None:
            return
        losses: dict[str, Tensor] = {}
        with self.signals.interruptible():
            for suffix, model in self.models.items():
                with self.accelerator.autocast():
                    losses[suffix] = row_losses(
                        model.eval(), self.drawer.sampling.prediction, self.table, self.accelerator.device, self.dtype
                    )
        metrics = {
            name + suffix: value
            for suffix, of_model in losses.items()
            for name, value in summarise(of_model, self.table).items()
        }
        keys = [self.table.cache.records[record].key for record in self.table.records.tolist()]
        rows = ValidationRows(
            step, self.table.digest, keys, self.table.sigmas.tolist(), next(iter(losses.values())).tolist()
        )
        write_rows(self.folder, rows)
        self.last_validation_loss = metrics["val/loss"]
        logger.info(
            "Step %d: validation loss %.4f, %.1f%% of what seeing no structure gives",
            step,
            metrics["val/loss"],
            100 * metrics["val/loss_relative"],
        )
        self.tracker.log(step, metrics)
        for_model = next(iter(losses.values()))
        self.tracker.log_histogram(step, "val/loss_by_sigma", *loss_by_sigma(self.table.sigmas, for_model))
        if self.prune_after_steps is not None:
            reason = why_hopeless(self.folder, step, after_steps=self.prune_after_steps, min_runs=self.prune_min_runs)
            if reason is not None:
                logger.info("%s", reason)
                self.tracker.log(step, {PRUNED: 1.0})
                self.signals.stop()

    def sample(self, step: int) -> None:
        """Draw and save a grid of pictures with each model."""
        held_out = self.records["validation"][: self.num_images // 2]
        records = torch.cat([self.records["train"][: self.num_images - len(held_out)], held_out])
        for suffix, model in self.models.items():
            with self.signals.interruptible():
                drawn = self.drawer.draw(model.eval(), records)
            grid = make_grid(drawn.images, drawn.prompts)
            self._save(self.folder / "samples" / f"step-{step:08d}{suffix.replace('_', '-')}.png", grid)
            self.tracker.log_images(step, f"pictures{suffix}", drawn.images, drawn.prompts)

    def evaluate(self, step: int) -> None:
        """Log how good pictures are, and keep what there is to look at."""
        evaluated = EvaluatedModel(next(iter(self.models.values())).eval(), self.drawer, self.records)
        try:
            with self.signals.interruptible():
                metrics = self.evaluation.evaluate(evaluated)
        except NotApplicable as why:
            logger.warning("The evaluation has nothing to say: %s", why)
            return
        for name, picture in evaluated.kept.items():
            self._save(self.folder / "evaluation" / f"step-{step:08d}-{name}.png", picture)
            self.tracker.log_images(step, f"evaluation/{name}", [picture], [f"step {step}"])
        if metrics:
            self.tracker.log(step, metrics | {EVALUATIONS: self.drawer.evaluations})

    def _save(self, path: Path, picture: Image.Image) -> None:
        aside = path.with_name(f".{path.name}")
        try:
            path.parent.mkdir(exist_ok=True)
            picture.save(aside)
            aside.replace(path)
        except OSError as error:
            aside.unlink(missing_ok=True)
            raise cannot_write(path, error) from None
