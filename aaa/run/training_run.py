"""One training run, put together from its config: data, model, optimizer, tracker, and what is watched."""

import json
import logging
import math
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from aaa.assemble import build, build_optimizer, build_preview, open_latents, pick_device
from aaa.checkpoint_folders import newest_whole
from aaa.config import check_config
from aaa.data.split import split_records
from aaa.diffusion.loss import training_loss
from aaa.encoders.protocols import NormalisesLatents
from aaa.errors import UserError
from aaa.evaluation.painter import Painter
from aaa.evaluation.validation import validation_table
from aaa.models.card import model_card
from aaa.models.factory import build_dit, count_parameters, forward_flops
from aaa.randomness import generator
from aaa.run.export import export_model, exported_step, newest_samples
from aaa.run.feed import Feed
from aaa.run.folder import RunFolder, batch_size_of
from aaa.run.looks import Looks
from aaa.run.odd_steps import OddSteps
from aaa.run.record import parent_run, warn_of_differences
from aaa.run.starting_weights import inherited_statistics, start_from
from aaa.tracking.redaction import without_secrets
from aaa.tracking.tracker import METRICS, RunInfo, Tracker, read_metrics
from aaa.training.checkpoint import (
    AVERAGE,
    MODEL,
    State,
    load_optimizer,
    load_state,
    load_weights,
    remove_unfinished,
    take_snapshot,
)
from aaa.training.checkpoint_keeper import CheckpointKeeper, Keep, require_space
from aaa.training.compiling import compile_model
from aaa.training.ema import EMA
from aaa.training.fitting import largest_batch, measure_footprint, require_fit
from aaa.training.loop import Progress, Watch, train_steps
from aaa.training.precision import precision
from aaa.training.recomputing import recompute_activations
from aaa.training.signals import StopSignals
from aaa.training.tuning import tune_for

logger = logging.getLogger(__name__)


class TrainingRun:
    """Everything a run consists of. Making one checks and prepares all of it; `train` then trains.

    Args:
        config: composed and accepted by the schema.
    """

    def __init__(self, config: DictConfig) -> None:
        self.config = config
        self.tracker: Tracker | None = None
        self.looks: Looks | None = None
        trainer = config.trainer
        check_config(config)
        mixed_precision, self.dtype = precision(trainer.precision)
        device = pick_device(trainer.device)
        if ":" in device:
            raise UserError(
                f"trainer.device={trainer.device}: each process takes a GPU of its own. To choose which there are: "
                "CUDA_VISIBLE_DEVICES=1 python -m aaa.train ..."
            )
        tune_for(device)
        torch.use_deterministic_algorithms(trainer.deterministic)
        self.accelerator = Accelerator(mixed_precision=mixed_precision, cpu=device == "cpu")
        self.device = self.accelerator.device
        self.is_main = self.accelerator.is_main_process
        self.signals = StopSignals(interrupts=self.accelerator.num_processes == 1)
        self.folder = RunFolder(Path(config.output_dir), self.accelerator)
        self.checkpoint = self._checkpoint_to_go_on_from()
        torch.manual_seed(config.seed)
        model = build_dit(**{key: value for key, value in config.model.items() if key != "name"})
        if config.init_from is not None and self.checkpoint is None:
            start_from(Path(config.init_from), model, config.model)
        self._resolved = without_secrets(OmegaConf.to_container(config, resolve=True))
        self.cache, self.vae, *_ = open_latents(config, str(self.device))
        self._keep_statistics()
        if trainer.trim_prompts:
            self.cache.trim_prompts()
        self._resolved["encoder"]["prompt_tokens"] = self.cache.prompt_shape[0]
        self.train_records, self.held_out = split_records(self.cache.records, config.data.validation_fraction)
        self.table = validation_table(
            self.cache, self.held_out, config.validation.num_records, config.validation.timesteps_per_record
        )
        self.scheduler = build(config, "scheduler")
        self.schedule = build(config, "lr_scheduler", max_steps=trainer.max_steps)
        evaluation = build(config, "evaluation")
        self.empty_prompt_embeds = self.cache.empty_prompt_embeds.to(self.device, self.dtype)
        model = model.to(self.device, self.dtype)
        self.ema = EMA(model, trainer.ema_decay) if trainer.ema_decay else None
        if trainer.gradient_checkpointing or trainer.gradient_checkpointing_offload:
            recompute_activations(model, offload=trainer.gradient_checkpointing_offload)
        self.batch_size = self._fitting_batch_size(model)
        self._resolved["trainer"]["batch_size"] = self.batch_size
        accumulation = trainer.gradient_accumulation_steps
        self.feed = Feed(self.cache, self.train_records, self.batch_size, accumulation, config.seed, self.device)
        if trainer.compile:
            compile_model(model, self.device)
        optimizer = build_optimizer(config, model)
        self.progress = self._restore(model, optimizer)
        self.raw_model = model
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.odd_steps = OddSteps(
            self.folder.path,
            self.feed,
            self.cache,
            self.scheduler,
            model,
            config.seed,
            trainer.prompt_dropout,
            self.batch_size,
            accumulation,
            self.device,
        )
        keep = config.checkpoint
        self.keeper = CheckpointKeeper(
            self.folder.path / "checkpoints",
            Keep(keep.keep_last, keep.keep_best, keep.metric, keep.higher_is_better, keep.keep_every_steps),
            in_background=keep.in_background,
        )
        preview = config.sampling.preview
        painter = Painter(
            self.cache,
            self.vae if preview is None else build_preview(self.vae, preview),
            self.scheduler,
            steps=config.sampling.steps,
            guidance=config.sampling.guidance,
            seed=config.sampling.seed,
            autocast=self.accelerator.autocast,
            device=self.device,
            dtype=self.dtype,
        )
        if self.is_main:
            remove_unfinished(self.folder.path / "checkpoints")
            require_space(self.folder.path, self._snapshot(State(0, 0.0, "", 0)).nbytes)
            environment = self._write_records()
            self.tracker = Tracker(self._run_info(environment), build(config, "logger"))
            self.looks = Looks(
                self._models(),
                self.accelerator,
                self.table,
                painter,
                evaluation,
                self.train_records,
                self.held_out,
                num_images=config.sampling.num_images,
                folder=self.folder.path,
                tracker=self.tracker,
                signals=self.signals,
                dtype=self.dtype,
            )
            self._announce()

    @property
    def last_validation_loss(self) -> float | None:
        """Of this process, None if it has not validated."""
        return None if self.looks is None else self.looks.last_validation_loss

    def train(self) -> int | None:
        """Train to the end, or until a signal: then returns its number."""
        trainer = self.config.trainer
        signum = train_steps(
            self.accelerator,
            self.model,
            self.optimizer,
            self.ema,
            self._loss,
            self.feed.batches,
            self.schedule,
            self._watches(),
            self._save,
            self._log,
            self.odd_steps.tell,
            self.progress,
            self.signals,
            seed=self.config.seed,
            max_steps=trainer.max_steps,
            batch_size=self.batch_size,
            gradient_accumulation_steps=trainer.gradient_accumulation_steps,
            max_grad_norm=trainer.max_grad_norm,
            log_every_steps=trainer.log_every_steps,
            save_every_steps=trainer.save_every_steps,
            on_nonfinite=trainer.on_nonfinite,
            max_skipped_steps=trainer.max_skipped_steps,
        )
        self.keeper.wait()
        if signum is None and self.is_main and exported_step(self.folder.path) != self.progress.step:
            self._export()
        self.accelerator.wait_for_everyone()
        if self.is_main:
            self._say_what_next(stopped=signum is not None)
        return signum

    def close(self, exit_code: int) -> None:
        """Close the tracker with the run's true status."""
        self.keeper.close()
        if self.tracker is not None:
            self.tracker.finish(exit_code)
        if exit_code == 0:
            self.accelerator.end_training()
        self.feed.close()
        self.accelerator.free_memory()
        self.folder.release()
        if self.accelerator.num_processes == 1:
            # accelerate keeps one precision for the whole process; the next job of a sweep may want another.
            AcceleratorState._reset_state(reset_partial_state=True)

    def _watches(self) -> list[Watch]:
        """What to look at; processes but the first only wait for it."""
        trainer, looks = self.config.trainer, self.looks
        every_steps = {
            "validate": trainer.validate_every_steps,
            "sample": trainer.sample_every_steps,
            "evaluate": trainer.max_steps,
        }
        return [Watch(name, every, getattr(looks, name, _wait)) for name, every in every_steps.items()]

    def _loss(self, model: nn.Module, latents: Tensor, prompt_embeds: Tensor, draws: torch.Generator) -> Tensor:
        return training_loss(
            model,
            latents.to(self.dtype),
            prompt_embeds.to(self.dtype),
            scheduler=self.scheduler,
            empty_prompt_embeds=self.empty_prompt_embeds,
            prompt_dropout=self.config.trainer.prompt_dropout,
            generator=draws,
        )

    def _fitting_batch_size(self, model: nn.Module) -> int:
        """The configured batch size once it is known to fit, or the largest that does for `auto`."""
        trainer = self.config.trainer
        parts = self.accelerator.num_processes, trainer.gradient_accumulation_steps
        batch_size = trainer.batch_size
        if batch_size == "auto":
            earlier = self.config.repeat if self.config.resume is None else self.folder.path
            batch_size = None if earlier is None else batch_size_of(Path(earlier))
        footprint = measure_footprint(partial(self._trial_loss, model), model, self.device)
        if batch_size is None:
            chosen = [largest_batch(footprint, *parts, len(self.train_records), self.device)]
            if self.accelerator.num_processes > 1:
                broadcast_object_list(chosen)
            logger.info("trainer.batch_size=auto: %d", chosen[0])
            return chosen[0]
        require_fit(footprint, batch_size, *parts, self.device)
        return int(batch_size)

    def _trial_loss(self, model: nn.Module, samples: int) -> Tensor:
        """Of a batch of the largest pictures there are."""
        sizes = torch.tensor([math.prod(shape) for shape in self.cache.shapes])
        record = int(sizes[self.cache.shape_ids].argmax())
        latents, prompt_embeds = self.cache.gather(torch.full((samples,), record))
        with self.accelerator.autocast():
            draws = generator("trial", device=self.device)
            return self._loss(model, latents.to(self.device), prompt_embeds.to(self.device), draws).mean()

    def _log(self, step: int, metrics: dict[str, float]) -> None:
        assert self.tracker is not None
        self.keeper.raise_failure()
        self.tracker.log(step, metrics)

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
                unlogged=self.progress.unlogged_numbers(),
                unlooked=self.progress.unlooked,
            )
            self.keeper.save(self._snapshot(state), wait=last)
        self.accelerator.wait_for_everyone()

    def _snapshot(self, state: State) -> Any:
        ema = None if self.ema is None else self.ema.module
        optimizer = getattr(self.optimizer, "optimizer", self.optimizer)
        return take_snapshot(state, self.raw_model, ema, optimizer, self._weights_metadata(state.step))

    def _checkpoint_to_go_on_from(self) -> Path | None:
        """The newest whole checkpoint, if this run is a resumed one and has any; the same for all processes."""
        found = [None if self.config.resume is None or not self.is_main else newest_whole(self.folder.path)]
        if self.accelerator.num_processes > 1:
            broadcast_object_list(found)
        return found[0]

    def _restore(self, model: nn.Module, optimizer: Any) -> Progress:
        """Take up the checkpoint, if there is one to go on from."""
        if self.checkpoint is None:
            if self.config.resume not in (None, "auto"):
                logger.info("There is no checkpoint in %s yet: starting at step 0.", self.folder.shown)
            return Progress()
        state = load_state(self.checkpoint)
        if state.cache_fingerprint != self.cache.fingerprint:
            raise UserError(
                f"{self.checkpoint}: the run was trained on other latents than {self.cache.path} holds. Were the "
                "pictures, prompts, data or encoder changed since? Set them back, or train a new run."
            )
        max_steps = self.config.trainer.max_steps
        finished = state.step >= max_steps and not state.unlooked and exported_step(self.folder.path) == state.step
        if finished and self.config.resume == "auto":
            logger.info("%s is finished: there is nothing left to do.", self.folder.shown)
        elif finished:
            raise UserError(
                f"{self.folder.shown} has already taken {state.step} of trainer.max_steps={max_steps} steps. "
                f"To go on: trainer.max_steps={2 * state.step}"
            )
        load_weights(self.checkpoint / MODEL, model)
        load_optimizer(self.checkpoint, optimizer)
        if self.ema is not None:
            if not (self.checkpoint / AVERAGE).is_file():
                raise UserError(f"{self.checkpoint} has no {AVERAGE}, but trainer.ema_decay is not 0.")
            load_weights(self.checkpoint / AVERAGE, self.ema.module)
            self.ema.n_averaged.fill_(state.ema_updates)
        logger.info("Going on from step %d (%s)", state.step, self.checkpoint)
        progress = Progress(state.step, state.seconds, state.skipped_steps, list(state.unlooked))
        progress.take_up(state.unlogged, self.device)
        return progress

    def _keep_statistics(self) -> None:
        """Normalise latents as the weights that are taken up have learned them, and let the model's config say how."""
        if not isinstance(self.vae, NormalisesLatents):
            return
        init_from = None if self.config.init_from is None else Path(self.config.init_from)
        inherited = inherited_statistics(None if self.checkpoint is None else self.folder.path, init_from)
        if inherited is not None and inherited != self.cache.statistics:
            logger.info("Latents are normalised by the statistics that the earlier weights were trained with.")
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
            parameters=count_parameters(model),
            metrics=read_metrics(self.folder.path / METRICS),
            device=_describe_device(self.device),
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
        records = {"data": data} | parent_run(self.folder.path, self.config, self.checkpoint)
        environment = self.folder.write_records(
            self._resolved, self.config if resumed else None, _describe_device(self.device), records
        )
        warn_of_differences(environment)
        return environment

    def _run_info(self, environment: dict[str, Any]) -> RunInfo:
        # Hydra leaves multirun.yaml in a sweep's folder, which a resumed job finds there too.
        path = self.folder.path
        sweep = path.parent if (path.parent / "multirun.yaml").is_file() else None
        return RunInfo(
            folder=path,
            name="/".join(path.parts[-2 if sweep is None else -3 :]),
            config=self._without_statistics(),
            overrides=list(HydraConfig.get().overrides.task),
            group=None if sweep is None else "/".join(sweep.parts[-2:]),
            step=self.progress.step,
            environment=environment,
        )

    def _announce(self) -> None:
        _, height, width = max(self.cache.shapes, key=math.prod)
        logger.info(
            "%s: %s parameters, %.2f GFLOP forward a picture; %d records to train on, %d held out; on %s",
            self.config.model.name,
            f"{count_parameters(self.raw_model):,}",
            forward_flops(self.raw_model, height, width, self.cache.prompt_shape[0]) / 1e9,
            len(self.train_records),
            len(self.held_out),
            _describe_device(self.device),
        )
        if self.config.data.attribution:
            logger.info("%s", self.config.data.attribution)
        if self.table is None:
            logger.info("No records are held out (data.validation_fraction=0): no validation loss.")
        logger.info("Run folder: %s", self.folder.shown)

    def _say_what_next(self, stopped: bool) -> None:
        folder = self.folder.shown
        if stopped:
            logger.info("Stopped at step %d. To go on: python -m aaa.train resume=%s", self.progress.step, folder)
            return
        prompt = self.cache.records[int(self.train_records[0])].prompt
        logger.info(
            "Done: %s\n"
            '  sample:  python -m aaa.sample model=%s prompt="%s"\n'
            "  resume:  python -m aaa.train resume=%s trainer.max_steps=%d\n"
            "  compare: python -m aaa.compare %s",
            folder,
            folder,
            prompt.replace('"', "'"),
            folder,
            2 * self.config.trainer.max_steps,
            folder.parent,
        )


def _wait(_step: int) -> None:
    """What other processes do while the first one looks: their next step waits for it."""


def _describe_device(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({torch.get_num_threads()} threads)"
