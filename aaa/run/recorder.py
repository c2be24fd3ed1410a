"""What is written down of a run while it trains: metrics, checkpoints, at the end its model."""

import json
import logging
import shutil
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from hydra.core.hydra_config import HydraConfig

from aaa.assembly.build import build
from aaa.config.routing import SPRINT
from aaa.devices import describe_device
from aaa.evaluation.evaluated_model import trained_on
from aaa.run.budget import of_steps
from aaa.run.history import copy_history
from aaa.run.longer import longer_from
from aaa.run.messages import announce, say_what_next
from aaa.run.naming import overrides_of, run_name
from aaa.run.parent import parent_run, warn_of_differences
from aaa.run.resolved import without_statistics
from aaa.run.run import Run
from aaa.run.same_prompts import PROBE
from aaa.run.shaping import changed_settings, describe_changes
from aaa.run.sweep_job import is_of_sweep
from aaa.run.trained_words import trained_words
from aaa.saved.checkpoint import Snapshot, State, remove_unfinished, take_snapshot
from aaa.saved.checkpoint_folders import CHECKPOINTS
from aaa.saved.checkpoint_keeper import CheckpointKeeper, Keep, require_space
from aaa.saved.divided_checkpoints import DividedCheckpoints
from aaa.saved.export import export_model, newest_samples
from aaa.saved.model_card import model_card
from aaa.saved.models import exported_step
from aaa.saved.named_model import EXPORTED
from aaa.saved.weights_file import ROUTING
from aaa.saved.whole_folders import REMOVED
from aaa.tracking.files import remove_aside
from aaa.tracking.recorded_overrides import lies_in_sweep
from aaa.tracking.stages import STAGES
from aaa.tracking.tracker import METRICS, Logger, RunInfo, Tracker, read_metrics
from aaa.training.optimizers import state_to_come
from aaa.training.timing import matmul_rate

logger = logging.getLogger(__name__)


class Recorder:
    """Writes down what becomes of a run; as a context manager it closes with the run's true status.

    Args:
        run: whose parts are there. What shaped it is written down at once, what would not fit on the disk refused.
        logger: W&B or another, of the first process.

    Attributes:
        tracker: of the first process; None in the others.
        exit_code: of the command; 1 until the run has come to an end.
    """

    def __init__(self, run: Run, logger: Logger | None) -> None:
        self.run, self.session, self.folder = run, run.session, run.origin.folder
        self.exit_code = 1
        self.began_at = run.progress.step
        # On a CPU it would add to every start, and other programs would spoil it; `aaa.bench` measures it there.
        on_gpu = self.session.device.type == "cuda"
        self.peak_flops = matmul_rate(self.session.device, self.session.product_dtype) if on_gpu else None
        keep = run.config.checkpoint
        self.keeper = CheckpointKeeper(
            self.folder.path / CHECKPOINTS,
            Keep(
                last=keep.keep_last,
                best=keep.keep_best,
                metric=keep.metric,
                higher_is_better=keep.higher_is_better,
                every_steps=keep.keep_every_steps,
                at_steps=run.length.kept_steps,
            ),
            in_background=on_gpu if keep.in_background is None else keep.in_background,
        )
        self.divided = None
        if self.session.mesh is not None:
            self.divided = DividedCheckpoints(self.keeper, is_main=self.session.is_main)
        self.tracker = None if logger is None else self._open_tracker(logger)
        self.session.processes.wait()  # a tracker may take its time to start

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.keeper.close()
        if self.tracker is not None:
            self.tracker.finish(self.exit_code if kind is None else 1)

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """A row of metrics, with what so many images a second come to."""
        assert self.tracker is not None
        self.keeper.raise_failure()
        rate = metrics["perf/images_per_second"] * self.run.length.flops_per_sample
        metrics |= {"flops": self.run.flops, "perf/flops_per_second": rate}
        if (embedding := self.run.loader.embedding) is not None:
            batches = self.run.loop_settings.gradient_accumulation_steps
            metrics["perf/embedding_share"] = batches * embedding.seconds_of_batch() / metrics["perf/step_seconds"]
        if self.peak_flops is not None:
            metrics["perf/mfu"] = rate / (self.peak_flops * self.session.accelerator.num_processes)
        self.tracker.log(step, metrics)

    def save(self, step: int, last: bool) -> None:
        """A checkpoint; of the last one it is waited until it is on disk."""
        if self.tracker is not None:
            self.tracker.to_disk()
        if self.divided is not None:
            self.divided.save(self._snapshot(self._state(step)), wait=last)
        elif self.session.is_main:
            self.keeper.save(self._snapshot(self._state(step)), wait=last)
        self.session.processes.wait()

    def finish(self, signum: int | None, exit_code: int) -> None:
        """Export the model of a run that has come to its end, and say what one may want to do next.

        Args:
            signum: the signal that ended it early, or None.
            exit_code: that the command will have.
        """
        if self.divided is not None:
            self.divided.wait()
        self.keeper.wait()
        step, folder = self.run.progress.step, self.folder
        if signum is None:
            with self.run.learner.looking():
                # A model of as many steps may be there, by other settings: of a run whose end was lost.
                if self.tracker is not None and (step > self.began_at or exported_step(folder.path) != step):
                    self._export()
                    self.tracker.log_model(folder.path / EXPORTED)
        self.session.processes.wait()
        if self.session.is_main:
            so_long = of_steps(self.run.config, 2 * step)
            longer = longer_from(folder.path, self.run.length.step_before_decay, so_long)
            say_what_next(folder.shown, self._prompt(), steps=step, signum=signum, so_long=so_long, longer=longer)
        self.exit_code = exit_code

    def _state(self, step: int) -> State:
        progress, ema = self.run.progress, self.run.learner.ema
        return State(
            step=step,
            seconds=progress.seconds,
            cache_fingerprint=self.run.data.cache.fingerprint,
            ema_updates=0 if ema is None else int(ema.n_averaged),
            skipped_steps=progress.skipped_steps,
            metrics={} if self.tracker is None else self.tracker.metrics_at(step),
            unlogged=progress.window.numbers(),
            unlooked=list(progress.unlooked),
            samples=progress.samples,
            flops=self.run.flops,
            kept_steps=list(self.run.length.kept_steps),
            parting_step=self.run.length.parting_step,
        )

    def _open_tracker(self, logger: Logger) -> Tracker:
        run, folder = self.run, self.folder.path
        remove_unfinished(folder / CHECKPOINTS)
        for place in (folder, folder / "validation"):
            remove_aside(place)
        if (folder / EXPORTED).is_dir():
            shutil.rmtree(folder / f"{REMOVED}{EXPORTED}", ignore_errors=True)
        nbytes = self._snapshot(State(0, 0.0, "", 0)).nbytes + state_to_come(run.learner.optimizer)
        require_space(folder, nbytes if self.divided is None else 2 * nbytes)  # weights are there as shards and whole
        past = copy_history(run.origin.before, folder) if run.origin.before and run.origin.branches_off else []
        environment = self._write_records()
        tracker = Tracker(self._run_info(environment), logger, past)
        announce(run)
        return tracker

    def _snapshot(self, state: State) -> Snapshot:
        learner = self.run.learner
        average = None if learner.ema is None else learner.ema.module
        metadata, settings = self._weights_metadata(state.step), self.run.settings
        return take_snapshot(state, learner.model, average, learner.optimizer, metadata, settings, learner.of_objective)

    def _export(self) -> None:
        run, folder, progress = self.run, self.folder.path, self.run.progress
        # Rows may have been lost with the machine or the copy of a folder; the run knows how far it is.
        done = {"step": progress.step, "samples": progress.samples, "seconds": progress.seconds}
        samples = newest_samples(folder, progress.step)
        card = model_card(
            run.resolved,
            parameters=run.parameters,
            metrics=[*read_metrics(folder / METRICS), done],
            device=describe_device(self.session.device),
            prompt=self._prompt(),
            has_samples=samples is not None,
            stages=run.stages,
        )
        model = next(iter(run.learner.judged.values()))
        words = None  # of a model that others have trained on who knows what
        if run.config.init_from is None:
            words = trained_words(build(run.config, "encoder.text_encoder"), run.data)
        export_model(folder, model, run.resolved, self._weights_metadata(progress.step), card, samples, words)

    def _prompt(self) -> str:
        """One that the model knows."""
        data = self.run.data
        return data.cache.records[int(trained_on(data.records)[0])].prompt

    def _weights_metadata(self, step: int) -> dict[str, str]:
        resolved = self.run.resolved
        routing = {ROUTING: json.dumps(resolved["routing"])} if resolved["routing"]["kind"] == SPRINT else {}
        return {"format": "pt", "step": str(step), "model": json.dumps(resolved["model"])} | routing

    def _write_records(self) -> dict[str, Any]:
        """Write down what shaped the run, warn where that is not what shaped the run it goes on with or repeats."""
        run, before = self.run, self.run.origin.before
        changed = {} if before is None else changed_settings(before.settings, run.settings)
        table = run.data.table
        records = {
            "output_dir": str(self.folder.path.absolute()),
            "data": {
                "latent_cache": run.data.cache.fingerprint,
                "validation_table": None if table is None else table.digest,
            }
            | ({} if run.data.kept_digest is None else {"kept_records": run.data.kept_digest}),
            "model": {"parameters": run.parameters, "flops_per_sample": run.length.flops_per_sample},
            "changed": changed,
        } | parent_run(self.folder.path, run.config, None if before is None else before.checkpoint)
        if run.data.prompt_probe is not None:
            records[PROBE] = [*run.data.prompt_probe]
        if run.stages:
            records[STAGES] = [asdict(stage) for stage in run.stages]
        composed = run.config if run.config.resume is not None else None
        device = describe_device(self.session.device)
        environment = self.folder.write_records(run.resolved, composed, device, records)
        warn_of_differences(environment)
        if before is not None and changed:
            logger.warning(
                "From step %d on the run has other settings: %s", before.state.step + 1, describe_changes(changed)
            )
        return environment

    def _measured(self) -> Collection[str] | None:
        """What is known of the step that the run goes on from, if a signal has left some of it to be measured still."""
        before = self.run.origin.before
        return before.state.metrics.keys() if before is not None and before.state.unlooked else None

    def _run_info(self, environment: dict[str, Any]) -> RunInfo:
        path = self.folder.path
        overrides = overrides_of(path, HydraConfig.get().overrides.task)
        sweep = sweep_of(path)
        return RunInfo(
            folder=path,
            name=run_name(self.run.config.name, overrides, sweep),
            config=without_statistics(self.run.resolved),
            overrides=overrides,
            group=None if sweep is None else "/".join(sweep.parts[-2:]),
            step=self.run.progress.step,
            environment=environment,
            remark=describe_changes(environment.get("changed") or {}),
            measured=self._measured(),
        )


def sweep_of(run: Path) -> Path | None:
    """The folder of the sweep that a run belongs to; a job that is resumed by itself is still one of the sweep."""
    return run.parent if is_of_sweep() or lies_in_sweep(run) else None
