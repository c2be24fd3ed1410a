"""One training run, put together from its config: data, model, optimizer, tracker, and what is watched."""

import json
import logging
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from aaa.config.build import (
    build,
    build_model,
    build_optimizer,
    build_preview,
    build_sampling,
    open_latents,
    pick_device,
)
from aaa.config.checks import check_config
from aaa.data.randomness import generator
from aaa.data.records import Split
from aaa.data.split import split_records
from aaa.encoders.protocols import NormalisesLatents
from aaa.errors import UserError
from aaa.evaluation.drawing import PictureDrawer
from aaa.evaluation.evaluated_model import EvaluatedModel
from aaa.evaluation.protocol import Evaluation
from aaa.evaluation.validation import summarise, validation_table
from aaa.models.card import model_card
from aaa.models.costs import count_parameters, forward_flops
from aaa.objectives.flow_matching import Objective
from aaa.pipelines.guide import load_guide
from aaa.run.anomaly_log import AnomalyLog
from aaa.run.batch_size import fitting_batch_size
from aaa.run.budget import keep_to_parameters, steps_within
from aaa.run.callbacks import RunCallbacks
from aaa.run.claim import shown
from aaa.run.earlier_sweep import MULTIRUN
from aaa.run.export import export_model, exported_step, newest_samples
from aaa.run.folder import RunFolder, recorded_precision
from aaa.run.going_on import (
    branch_checkpoint,
    changed_settings,
    describe_changes,
    longer_command,
    read_before,
    refuse_senseless,
    shaping_settings,
    unaffected_steps,
    warn_of_schedule,
)
from aaa.run.history import copy_history
from aaa.run.latent_loader import LatentLoader
from aaa.run.messages import announce, describe_device, say_what_next
from aaa.run.naming import overrides_of, run_name
from aaa.run.processes import make_accelerator, of_first_process
from aaa.run.record import parent_run, warn_of_differences
from aaa.run.requirements import require_applicable, require_metric
from aaa.run.resuming import checkpoint_to_go_on_from, restore
from aaa.run.search import require_value
from aaa.run.starting_weights import inherited_statistics, start_from
from aaa.tracking.redaction import without_secrets
from aaa.tracking.tracker import METRICS, RunInfo, Tracker, read_metrics
from aaa.tracking.variables import wants_cpu
from aaa.training.callbacks import Callback
from aaa.training.checkpoint import Snapshot, State, remove_unfinished, take_snapshot
from aaa.training.checkpoint_keeper import CheckpointKeeper, Keep, require_space
from aaa.training.compiling import compile_model
from aaa.training.ema import EMA
from aaa.training.loop import Hooks, fit
from aaa.training.lr_schedules import Schedule
from aaa.training.precision import ModelPrecision, choose_precision, precision
from aaa.training.progress import Progress
from aaa.training.recomputing import recompute_activations
from aaa.training.settings import LoopSettings
from aaa.training.signals import StopSignals
from aaa.training.step import Trainee, sum_of
from aaa.training.timing import matmul_rate
from aaa.training.tuning import tune_for

logger = logging.getLogger(__name__)

TRAINING_FLOPS = 3  # of a forward pass: itself, and the backward pass, which costs twice as much


class TrainingRun:
    """Everything a run consists of. Making one checks and prepares all of it; `train` then trains.

    Args:
        config: composed and accepted by the schema.
    """

    def __init__(self, config: DictConfig) -> None:
        self.config = config
        self.tracker: Tracker | None = None
        self.looks: RunCallbacks | None = None
        trainer = config.trainer
        check_config(config)
        device = "cpu" if trainer.device == "auto" and wants_cpu() else pick_device(trainer.device)
        if ":" in device:
            raise UserError(
                f"trainer.device={trainer.device}: each process takes a GPU of its own. To choose which there are: "
                "CUDA_VISIBLE_DEVICES=1 python -m aaa.train ..."
            )
        trainer.precision = recorded_precision(config) or choose_precision(trainer.precision, torch.device(device))
        mixed_precision, self.dtype = precision(trainer.precision)
        tune_for(device)
        torch.use_deterministic_algorithms(trainer.deterministic)
        self.accelerator = make_accelerator(
            device, mixed_precision, trainer.gradient_accumulation_steps, compiled=trainer.compile
        )
        self.device = self.accelerator.device
        self.is_main = self.accelerator.is_main_process
        self.signals = StopSignals(interrupts=self.accelerator.num_processes == 1)
        self.folder = RunFolder(Path(config.output_dir), self.accelerator, going_on=config.resume is not None)
        self.checkpoint = checkpoint_to_go_on_from(self.folder, config.resume, self.accelerator)
        self.branched = self.checkpoint is None and branch_checkpoint(config.repeat) is not None
        if self.branched:
            self.checkpoint = branch_checkpoint(config.repeat)
        self.before = None if self.checkpoint is None else read_before(self.checkpoint)
        keep_to_parameters(config)
        torch.manual_seed(config.seed)
        model = build_model(config)
        if config.init_from is not None and self.checkpoint is None:
            start_from(Path(config.init_from), model, config.model)
        self._resolved = without_secrets(OmegaConf.to_container(config, resolve=True))
        if self.before is not None:
            refuse_senseless(self.before, self._settings())
        trained_on = None if self.before is None else self.before.state.cache_fingerprint
        self.cache, self.vae, *_ = open_latents(config, str(self.device), trained_on)
        self._keep_statistics()
        if trainer.trim_prompts:
            self.cache.trim_prompts()
        self._resolved["encoder"]["prompt_tokens"] = self.cache.prompt_shape[0]
        self.train_records, self.held_out = split_records(self.cache.records, config.data.validation_fraction)
        self.table = validation_table(
            self.cache, self.held_out, config.validation.num_records, config.validation.timesteps_per_record
        )
        if self._is_of_sweep():
            require_value(config, HydraConfig.get().sweeper, held_out=len(self.held_out))
        sampling = build_sampling(config)
        evaluation = build(config, "evaluation")
        self.objective: Objective = build(
            config,
            "objective",
            scheduler=sampling.scheduler,
            empty_prompt_embeds=self.cache.empty_prompt_embeds.to(self.device, self.dtype),
            prompt_dropout=trainer.prompt_dropout,
            prediction=sampling.prediction,
        )
        model = model.to(self.device, self.dtype)
        self.ema = EMA(model, trainer.ema_decay) if trainer.ema_decay else None
        if trainer.gradient_checkpointing or trainer.gradient_checkpointing_offload:
            recompute_activations(model, offload=trainer.gradient_checkpointing_offload)
        accumulation = trainer.gradient_accumulation_steps
        earlier = self._earlier_run()
        self.batch_size = fitting_batch_size(
            trainer.batch_size,
            earlier,
            partial(self._trial_loss, model),
            model,
            self.accelerator,
            micro_batches=accumulation,
            records=len(self.train_records),
        )
        self._resolved["trainer"]["batch_size"] = self.batch_size
        _, height, width = max(self.cache.shapes, key=math.prod)
        self.parameters = count_parameters(model)
        self.flops_per_sample = TRAINING_FLOPS * forward_flops(
            model,
            height,
            width,
            self.cache.prompt_shape[0],
            channels=config.model.in_channels,
            text_dim=config.model.text_dim,
        )
        self.max_steps = steps_within(
            config,
            earlier,
            self.before,
            flops_per_sample=self.flops_per_sample,
            batch_size=self.batch_size,
            trial_step=partial(self._trial_step, model),
        )
        self.max_steps = of_first_process(self.max_steps, self.accelerator)
        self._resolved["trainer"]["max_steps"] = self.max_steps
        make_schedule = partial(_make_schedule, config)
        self.schedule = make_schedule(self.max_steps)
        undecayed = unaffected_steps(make_schedule, self.max_steps)
        # A run that is to be longer goes on from there.
        self.branching_step = undecayed if trainer.save_every_steps and 0 < undecayed < self.max_steps else None
        began_at = 0 if self.before is None else self.before.samples
        self.loader = LatentLoader(
            self.cache, self.train_records, self.batch_size, accumulation, config.seed, self.device, began_at
        )
        if trainer.compile:
            compile_model(model, self.device)
        optimizer = build_optimizer(config, model)
        self.progress = Progress()
        if self.before is not None:
            self.progress = restore(
                self.before,
                model,
                self.ema,
                optimizer,
                self.cache,
                self.folder,
                max_steps=self.max_steps,
                batch_size=self.batch_size,
                finished_is_fine=config.resume == "auto",
                device=self.device,
            )
            warn_of_schedule(self.before, make_schedule, self.max_steps, optimizer.param_groups[0]["lr"])
        self.raw_model = model
        # On a CPU it would add to every start, and other programs would spoil it; `aaa.bench` measures it there.
        multiplied = torch.bfloat16 if mixed_precision == "bf16" else self.dtype
        self.peak_flops = matmul_rate(self.device, multiplied) if self.device.type == "cuda" else None
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.anomalies = AnomalyLog(
            self.folder.path,
            self.loader,
            self.objective,
            model,
            self.batch_size,
            accumulation,
            self.progress,
            self.device,
        )
        keep = config.checkpoint
        self.keeper = CheckpointKeeper(
            self.folder.path / "checkpoints",
            Keep(
                keep.keep_last,
                keep.keep_best,
                keep.metric,
                keep.higher_is_better,
                keep.keep_every_steps,
                () if self.branching_step is None else (self.branching_step,),
            ),
            in_background=self.device.type != "cpu" if keep.in_background is None else keep.in_background,
        )
        preview = config.sampling.preview
        drawer = PictureDrawer(
            self.cache,
            self.vae if preview is None else build_preview(self.vae, preview),
            sampling,
            seed=config.sampling.seed,
            precision=ModelPrecision(trainer.precision, self.device),
        )
        load_guide(sampling.guidance, self._resolved["encoder"], drawer.precision)
        if self.is_main:
            self._require_what_is_looked_at(evaluation, drawer)
            remove_unfinished(self.folder.path / "checkpoints")
            require_space(self.folder.path, self._snapshot(State(0, 0.0, "", 0)).nbytes)
            past = copy_history(self.before, self.folder.path) if self.before is not None and self.branched else []
            environment = self._write_records()
            self.tracker = Tracker(self._run_info(environment), build(config, "logger"), past)
            self.looks = RunCallbacks(
                self._models(),
                self.accelerator,
                self.table,
                drawer,
                evaluation,
                self.train_records,
                self.held_out,
                num_images=config.sampling.num_images,
                folder=self.folder.path,
                tracker=self.tracker,
                signals=self.signals,
                dtype=self.dtype,
                prune_after_steps=config.sweep.prune_after_steps if self._is_of_sweep() else None,
                prune_min_runs=config.sweep.prune_min_runs,
            )
            counts = len(self.train_records), len(self.held_out)
            flops = self.flops_per_sample / TRAINING_FLOPS
            composed = HydraConfig.get()
            announce(
                self.folder.shown,
                config.model.name,
                self.parameters,
                flops,
                *counts,
                self.device,
                choices=composed.runtime.choices,
                overrides=composed.overrides.task,
            )
            if config.data.attribution:
                logger.info("%s", config.data.attribution)

    def _require_what_is_looked_at(self, evaluation: Evaluation, drawer: PictureDrawer) -> None:
        records: dict[Split, Tensor] = {"train": self.train_records, "validation": self.held_out}
        evaluated = EvaluatedModel(self.raw_model, drawer, records)
        require_applicable(evaluation, evaluated, resumed=self.config.resume is not None)
        measured: dict[str, float] = {}
        if self.table is not None and self.config.trainer.validate_every_steps:
            measured = summarise(torch.zeros(len(self.table.sigmas)), self.table)
        require_metric(self.config, evaluation, [name + suffix for suffix in self._models() for name in measured])

    @property
    def last_validation_loss(self) -> float | None:
        """Of this process, None if it has not validated."""
        return None if self.looks is None else self.looks.last_validation_loss

    def train(self) -> int | None:
        """Train to the end, or until a signal: then returns its number."""
        trainer = self.config.trainer
        settings = LoopSettings(
            seed=self.config.seed,
            max_steps=self.max_steps,
            batch_size=self.batch_size,
            gradient_accumulation_steps=trainer.gradient_accumulation_steps,
            max_grad_norm=trainer.max_grad_norm,
            log_every_steps=trainer.log_every_steps,
            save_every_steps=trainer.save_every_steps,
            save_at_steps=() if self.branching_step is None else (self.branching_step,),
            on_nonfinite=trainer.on_nonfinite,
            max_skipped_steps=trainer.max_skipped_steps,
        )
        trainee = Trainee(
            self.accelerator, self.model, self.optimizer, self.ema, self._loss, self.loader.batches, self.schedule
        )
        hooks = Hooks(self._callbacks(), self._save, self._log, self.anomalies.report)
        signum = fit(trainee, settings, hooks, self.progress, self.signals)
        self.keeper.wait()
        if signum is None and self.is_main and exported_step(self.folder.path) != self.progress.step:
            self._export()
            assert self.tracker is not None
            self.tracker.log_model(self.folder.path / "model")
        self.accelerator.wait_for_everyone()
        if self.is_main:
            prompt = self.cache.records[int(self.train_records[0])].prompt
            undecayed = self.folder.path / "checkpoints" / f"step-{self.branching_step or 0:08d}"
            say_what_next(
                self.folder.shown,
                prompt,
                steps=self.progress.step,
                stopped=signum is not None,
                longer=longer_command(undecayed, 2 * self.progress.step) if undecayed.is_dir() else None,
            )
        return signum

    def close(self, exit_code: int) -> None:
        """Close the tracker with the run's true status."""
        self.keeper.close()
        if self.tracker is not None:
            self.tracker.finish(exit_code)
        if exit_code == 0:
            self.accelerator.end_training()
        self.loader.close()
        self.accelerator.free_memory()
        self.folder.release()
        if self.accelerator.num_processes == 1:
            # accelerate keeps one precision for the whole process; the next job of a sweep may want another.
            AcceleratorState._reset_state(reset_partial_state=True)

    def _callbacks(self) -> list[Callback]:
        """What happens every so often; processes but the first only wait for it."""
        trainer, looks = self.config.trainer, self.looks
        return [
            Callback("validate", trainer.validate_every_steps, _wait if looks is None else looks.validate),
            Callback("sample", trainer.sample_every_steps, _wait if looks is None else looks.sample),
            Callback(
                "evaluate", trainer.evaluate_every_steps or self.max_steps, _wait if looks is None else looks.evaluate
            ),
        ]

    def _loss(
        self, model: nn.Module, latents: Tensor, prompt_embeds: Tensor, draws: torch.Generator
    ) -> Mapping[str, Tensor]:
        return self.objective(model, latents.to(self.dtype), prompt_embeds.to(self.dtype), draws)

    def _trial_loss(self, model: nn.Module, samples: int) -> Tensor:
        """Of a batch of the largest pictures there are."""
        sizes = torch.tensor([math.prod(shape) for shape in self.cache.shapes])
        record = int(sizes[self.cache.shape_ids].argmax())
        latents, prompt_embeds = self.cache.gather(torch.full((samples,), record))
        with self.accelerator.autocast():
            draws = generator("trial", device=self.device)
            return sum_of(self._loss(model, latents.to(self.device), prompt_embeds.to(self.device), draws)).mean()

    def _trial_step(self, model: nn.Module) -> None:
        """Forward and backward of a whole step, leaving no gradients behind."""
        micro_batches = self.config.trainer.gradient_accumulation_steps
        for _ in range(micro_batches):
            share = self.batch_size // (micro_batches * self.accelerator.num_processes)
            self._trial_loss(model, max(share, 1)).backward()
        model.zero_grad()

    def _log(self, step: int, metrics: dict[str, float]) -> None:
        assert self.tracker is not None
        self.keeper.raise_failure()
        rate = metrics["perf/images_per_second"] * self.flops_per_sample
        metrics |= {"flops": self._flops(), "perf/flops_per_second": rate}
        if self.peak_flops is not None:
            metrics["perf/mfu"] = rate / (self.peak_flops * self.accelerator.num_processes)
        self.tracker.log(step, metrics)

    def _flops(self) -> int:
        """Of all training so far."""
        before = self.before
        if before is None or before.flops is None:
            return self.progress.samples * self.flops_per_sample
        return before.flops + (self.progress.samples - before.samples) * self.flops_per_sample

    def _settings(self) -> dict[str, Any]:
        return shaping_settings(self._resolved, processes=self.accelerator.num_processes)

    def _earlier_run(self) -> Path | None:
        """The folder of the run that is gone on with or repeated."""
        if self.config.resume is not None:
            return self.folder.path
        if self.before is not None:
            return self.before.run
        return None if self.config.repeat is None else Path(self.config.repeat)

    def _models(self) -> dict[str, nn.Module]:
        """What to validate and to draw with: the average, if there is one, and the raw weights."""
        models: dict[str, nn.Module] = {} if self.ema is None else {"": self.ema.module}
        return models | {"_raw" if models else "": self.raw_model}

    def _save(self, step: int, last: bool) -> None:
        if self.is_main:
            assert self.tracker is not None
            state = State(
                step=step,
                seconds=self.progress.seconds,
                cache_fingerprint=self.cache.fingerprint,
                ema_updates=0 if self.ema is None else int(self.ema.n_averaged),
                skipped_steps=self.progress.skipped_steps,
                metrics=self.tracker.metrics_at(step),
                unlogged=self.progress.window.numbers(),
                unlooked=self.progress.unlooked,
                samples=self.progress.samples,
                flops=self._flops(),
            )
            self.keeper.save(self._snapshot(state), wait=last)
        self.accelerator.wait_for_everyone()

    def _snapshot(self, state: State) -> Snapshot:
        ema = None if self.ema is None else self.ema.module
        optimizer = getattr(self.optimizer, "optimizer", self.optimizer)
        return take_snapshot(
            state, self.raw_model, ema, optimizer, self._weights_metadata(state.step), self._settings()
        )

    def _keep_statistics(self) -> None:
        """Normalise latents as the weights that are taken up have learned them, and let the model's config say how."""
        if not isinstance(self.vae, NormalisesLatents):
            return
        place = self.config.init_from if self.before is None else shown(self.before.run)
        inherited = None if place is None else inherited_statistics(Path(place))
        if inherited is not None and inherited != self.cache.statistics:
            logger.info("Latents are normalised by the statistics that the weights in %s were trained with.", place)
            self.cache.statistics = self.vae.statistics = inherited
        assert self.vae.statistics is not None
        self._resolved["encoder"]["vae"] |= {
            "latent_mean": list(self.vae.statistics.mean),
            "latent_std": list(self.vae.statistics.std),
        }

    def _without_statistics(self) -> dict[str, Any]:
        """The resolved config without the hundreds of numbers that nobody wants to see in a table of runs."""
        encoder = self._resolved["encoder"]
        vae = {key: value for key, value in encoder["vae"].items() if not key.startswith("latent_")}
        return self._resolved | {"encoder": encoder | {"vae": vae}}

    def _export(self) -> None:
        model = next(iter(self._models().values()))
        card = model_card(
            self._resolved,
            parameters=self.parameters,
            metrics=read_metrics(self.folder.path / METRICS),
            device=describe_device(self.device),
            prompt=self.cache.records[int(self.train_records[0])].prompt,
            has_samples=newest_samples(self.folder.path) is not None,
        )
        export_model(self.folder.path, model, self._resolved, self._weights_metadata(self.progress.step), card)

    def _weights_metadata(self, step: int) -> dict[str, str]:
        return {"format": "pt", "step": str(step), "model": json.dumps(self._resolved["model"])}

    def _write_records(self) -> dict[str, Any]:
        """Write down what shaped the run, warn where that is not what shaped the run it goes on with or repeats."""
        data = {
            "latent_cache": self.cache.fingerprint,
            "validation_table": None if self.table is None else self.table.digest,
        }
        resumed = self.config.resume is not None
        about = {"parameters": self.parameters, "flops_per_sample": self.flops_per_sample}
        place = {"output_dir": str(self.folder.path.absolute())}
        origin = parent_run(self.folder.path, self.config, self.checkpoint)
        changed = {} if self.before is None else changed_settings(self.before.settings, self._settings())
        records = place | {"data": data, "model": about, "changed": changed} | origin
        environment = self.folder.write_records(
            self._resolved, self.config if resumed else None, describe_device(self.device), records
        )
        warn_of_differences(environment)
        if self.before is not None and changed:
            logger.warning(
                "From step %d on the run has other settings: %s", self.before.state.step + 1, describe_changes(changed)
            )
        return environment

    def _is_of_sweep(self) -> bool:
        return HydraConfig.get().mode is RunMode.MULTIRUN

    def _run_info(self, environment: dict[str, Any]) -> RunInfo:
        path = self.folder.path
        overrides = overrides_of(path, HydraConfig.get().overrides.task)
        # A job of a sweep that is resumed by itself is still one of the sweep.
        sweep = path.parent if self._is_of_sweep() or (path.parent / MULTIRUN).is_file() else None
        return RunInfo(
            folder=path,
            name=run_name(self.config.name, overrides, sweep),
            config=self._without_statistics(),
            overrides=overrides,
            group=None if sweep is None else "/".join(sweep.parts[-2:]),
            step=self.progress.step,
            environment=environment,
            remark=describe_changes(environment.get("changed") or {}),
        )


def _make_schedule(config: DictConfig, max_steps: int) -> Schedule:
    schedule: Schedule = build(config, "lr_scheduler", max_steps=max_steps)
    return schedule


def _wait(_step: int) -> None:
    """What other processes do while the first one looks: their next step waits for it."""
