"""One training run, put together from its config: data, model, optimizer, tracker, and what is watched."""

import json
import logging
import math
import shutil
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list
from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from aaa.assemble import build, build_optimizer, build_preview, open_latents, pick_device
from aaa.config import check_config
from aaa.data.prefetch import Prefetch
from aaa.data.split import data_order, split_records
from aaa.diffusion.loss import training_loss
from aaa.encoders.protocols import NormalisesLatents
from aaa.errors import UserError
from aaa.evaluation.grid import make_grid
from aaa.evaluation.painter import Painter
from aaa.evaluation.validation import validate, validation_table
from aaa.models.card import SAMPLES, model_card
from aaa.models.factory import build_dit, count_parameters, forward_flops
from aaa.models.saved import find_saved, sampling_config, saved_statistics, write_card, write_config
from aaa.models.weights_file import read_dit_numbers
from aaa.randomness import generator
from aaa.tracking.environment import without_secrets, write_environment
from aaa.tracking.tracker import METRICS, RunInfo, Tracker, read_metrics
from aaa.training.checkpoint import (
    State,
    load_optimizer,
    load_state,
    load_weights,
    newest_checkpoint,
    save_checkpoint,
    save_weights,
)
from aaa.training.compiling import compile_model
from aaa.training.ema import EMA
from aaa.training.fitting import largest_batch, measure_footprint, require_fit
from aaa.training.loop import Batches, Progress, Watch, train_steps
from aaa.training.memory import available_memory
from aaa.training.precision import precision
from aaa.training.recomputing import recompute_activations
from aaa.training.tuning import tune_for

logger = logging.getLogger(__name__)

RESIDENT_SHARE = 0.2  # of a GPU's memory that latents may take up


class TrainingRun:
    """Everything a run consists of. Making one checks and prepares all of it; `train` then trains.

    Args:
        config: composed and accepted by the schema.
    """

    def __init__(self, config: DictConfig) -> None:
        self.config = config
        self.last_validation_loss: float | None = None
        self.tracker: Tracker | None = None
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
        self.accelerator = Accelerator(mixed_precision=mixed_precision, cpu=device == "cpu")
        self.device = self.accelerator.device
        self.is_main = self.accelerator.is_main_process
        self.folder = self._shared_folder(Path(config.output_dir))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = _lock(self.folder) if self.is_main else None
        torch.manual_seed(config.seed)
        model = build_dit(**{key: value for key, value in config.model.items() if key != "name"})
        if config.init_from is not None and config.resume is None:
            self._start_from(model, Path(config.init_from))
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
        self.evaluation = build(config, "evaluation")
        self.empty_prompt_embeds = self.cache.empty_prompt_embeds.to(self.device, self.dtype)
        model = model.to(self.device, self.dtype)
        self.ema = EMA(model, trainer.ema_decay) if trainer.ema_decay else None
        if trainer.gradient_checkpointing or trainer.gradient_checkpointing_offload:
            recompute_activations(model, offload=trainer.gradient_checkpointing_offload)
        self.batch_size = self._fitting_batch_size(model)
        self._resolved["trainer"]["batch_size"] = self.batch_size
        self.order = data_order(self.train_records, self.cache.shape_ids, self.batch_size, config.seed)
        self.batches = self._batches_for_device()
        if trainer.compile:
            compile_model(model, self.device)
        optimizer = build_optimizer(config, model)
        self.progress = self._restore(model, optimizer)
        self.raw_model = model
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        preview = config.sampling.preview
        self.painter = Painter(
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
            self._write_records()
            self.tracker = Tracker(self._run_info(), build(config, "logger"))
            self._announce()

    def train(self) -> int | None:
        """Train to the end, or until a signal: then returns its number."""
        trainer = self.config.trainer
        watches = [
            Watch(trainer.save_every_steps, self._save, when_stopped=True),
            Watch(trainer.validate_every_steps, self._validate),
            Watch(trainer.sample_every_steps, self._sample),
        ]
        signum = train_steps(
            self.accelerator,
            self.model,
            self.optimizer,
            self.ema,
            self._loss,
            self.batches,
            self.schedule,
            watches,
            self._log,
            self.progress,
            seed=self.config.seed,
            max_steps=trainer.max_steps,
            batch_size=self.batch_size,
            gradient_accumulation_steps=trainer.gradient_accumulation_steps,
            max_grad_norm=trainer.max_grad_norm,
            log_every_steps=trainer.log_every_steps,
        )
        if signum is None and self.is_main:
            self._evaluate()
            self._export()
        self.accelerator.wait_for_everyone()
        if self.is_main:
            self._say_what_next(stopped=signum is not None)
        return signum

    def close(self, exit_code: int) -> None:
        """Close the tracker with the run's true status."""
        if self.tracker is not None:
            self.tracker.finish(exit_code)
        if exit_code == 0:
            self.accelerator.end_training()
        if isinstance(self.batches, Prefetch):
            self.batches.close()
        self.accelerator.free_memory()
        if self.lock is not None:
            self.lock.release()
        if self.accelerator.num_processes == 1:
            # accelerate keeps one precision for the whole process; the next job of a sweep may want another.
            AcceleratorState._reset_state(reset_partial_state=True)

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

    def _batch(self, positions: range) -> tuple[Tensor, Tensor]:
        records = self.order[positions]
        draws = generator(self.config.seed, "captions", positions.start)
        return self.cache.gather(records, self.cache.draw_captions(records, draws))

    def _fitting_batch_size(self, model: nn.Module) -> int:
        """The configured batch size once it is known to fit, or the largest that does for `auto`."""
        trainer = self.config.trainer
        parts = self.accelerator.num_processes, trainer.gradient_accumulation_steps
        batch_size = self._batch_size_so_far() if trainer.batch_size == "auto" else trainer.batch_size
        footprint = measure_footprint(partial(self._trial_loss, model), model, self.device)
        if batch_size is None:
            chosen = [largest_batch(footprint, *parts, len(self.train_records), self.device)]
            if self.accelerator.num_processes > 1:
                broadcast_object_list(chosen)
            logger.info("trainer.batch_size=auto: %d", chosen[0])
            return chosen[0]
        require_fit(footprint, batch_size, *parts, self.device)
        return int(batch_size)

    def _batch_size_so_far(self) -> int | None:
        """What `auto` was when the run that is resumed began."""
        file = self.folder / "config.yaml"
        if self.config.resume is None or not file.is_file():
            return None
        return int(OmegaConf.load(file).trainer.batch_size)

    def _trial_loss(self, model: nn.Module, samples: int) -> Tensor:
        """Of a batch of the largest pictures there are."""
        sizes = torch.tensor([math.prod(shape) for shape in self.cache.shapes])
        record = int(sizes[self.cache.shape_ids].argmax())
        latents, prompt_embeds = self.cache.gather(torch.full((samples,), record))
        with self.accelerator.autocast():
            draws = generator("trial", device=self.device)
            return self._loss(model, latents.to(self.device), prompt_embeds.to(self.device), draws).mean()

    def _batches_for_device(self) -> Batches:
        """Batches from where the device gets them fastest: a GPU's own memory, or a thread that reads ahead."""
        if self.device.type != "cuda":
            return self._batch
        if self.cache.nbytes <= RESIDENT_SHARE * available_memory(self.device):
            self.cache.move_to(self.device)
            return self._batch
        stride = self.batch_size // self.config.trainer.gradient_accumulation_steps
        return Prefetch(self._batch, stride, pin=True)

    def _log(self, step: int, metrics: dict[str, float]) -> None:
        assert self.tracker is not None
        self.tracker.log(step, metrics)

    def _models(self) -> dict[str, nn.Module]:
        """What to validate and to draw with: the average, if there is one, and the raw weights."""
        models: dict[str, nn.Module] = {} if self.ema is None else {"": self.ema.module}
        return models | {"_raw" if models else "": self.raw_model}

    def _validate(self, step: int) -> None:
        if not self.is_main or self.table is None:
            return
        metrics: dict[str, float] = {}
        for suffix, model in self._models().items():
            with self.accelerator.autocast():
                losses = validate(_eval(model), self.table, self.device, self.dtype)
            metrics |= {name + suffix: value for name, value in losses.items()}
        self.last_validation_loss = metrics["val/loss"]
        logger.info(
            "Step %d: validation loss %.4f, %.1f%% of what seeing no structure gives",
            step,
            metrics["val/loss"],
            100 * metrics["val/loss_relative"],
        )
        self._log(step, metrics)

    def _sample(self, step: int) -> None:
        if not self.is_main:
            return
        half = self.config.sampling.num_images // 2
        held_out = self.held_out[:half]
        records = torch.cat([self.train_records[: self.config.sampling.num_images - len(held_out)], held_out])
        (self.folder / "samples").mkdir(exist_ok=True)
        assert self.tracker is not None
        for suffix, model in self._models().items():
            prompts, pictures = self.painter.draw(_eval(model), records)
            make_grid(pictures, prompts).save(
                self.folder / "samples" / f"step-{step:08d}{suffix.replace('_', '-')}.png"
            )
            self.tracker.log_images(step, f"samples{suffix}", pictures, prompts)

    def _save(self, step: int) -> None:
        if self.is_main:
            state = State(
                step=step,
                seconds=self.progress.seconds,
                cache_fingerprint=self.cache.fingerprint,
                ema_updates=0 if self.ema is None else int(self.ema.n_averaged),
            )
            ema = None if self.ema is None else self.ema.module
            optimizer = getattr(self.optimizer, "optimizer", self.optimizer)
            save_checkpoint(
                self.folder / "checkpoints", state, self.raw_model, ema, optimizer, self._weights_metadata(step)
            )
        self.accelerator.wait_for_everyone()

    def _restore(self, model: nn.Module, optimizer: Any) -> Progress:
        """Take up the newest checkpoint, if this run is a resumed one."""
        if self.config.resume is None:
            return Progress()
        checkpoint = newest_checkpoint(self.folder)
        if checkpoint is None:
            logger.info("There is no checkpoint in %s yet: starting at step 0.", self.folder)
            return Progress()
        state = load_state(checkpoint)
        if state.cache_fingerprint != self.cache.fingerprint:
            raise UserError(
                f"{checkpoint}: the run was trained on other latents than {self.cache.path} holds. Were the pictures, "
                "prompts, data or encoder changed since? Set them back, or train a new run."
            )
        if state.step >= self.config.trainer.max_steps:
            raise UserError(
                f"{self.folder} has already taken {state.step} of trainer.max_steps={self.config.trainer.max_steps} "
                f"steps. To go on: trainer.max_steps={2 * state.step}"
            )
        load_weights(checkpoint / "model.safetensors", model)
        load_optimizer(checkpoint, optimizer)
        if self.ema is not None:
            if not (checkpoint / "ema.safetensors").is_file():
                raise UserError(f"{checkpoint} has no ema.safetensors, but trainer.ema_decay is not 0.")
            load_weights(checkpoint / "ema.safetensors", self.ema.module)
            self.ema.n_averaged.fill_(state.ema_updates)
        logger.info("Going on from step %d (%s)", state.step, checkpoint)
        return Progress(step=state.step, seconds=state.seconds)

    def _start_from(self, model: nn.Module, path: Path) -> None:
        """Load the weights that `init_from` names.

        Raises:
            UserError: if they are those of a model of another size.
        """
        file = path if path.is_file() else find_saved(path, weights="ema", trust_config=False).weights
        configured = {key: value for key, value in self.config.model.items() if key not in ("name", "init")}
        found = asdict(read_dit_numbers(file, self.config.model.heads))
        if other := {key: value for key, value in found.items() if value != configured[key]}:
            fitting = " ".join(f"model.{key}={value}" for key, value in other.items())
            raise UserError(f"init_from={path}: holds a model of another size. To train that one: {fitting}")
        load_weights(file, model)
        logger.info("Starting from the weights in %s", file)

    def _keep_statistics(self) -> None:
        """Normalise latents as the weights that are taken up have learned them, and let the model's config say how."""
        if not isinstance(self.vae, NormalisesLatents):
            return
        earlier = self._earlier_weights()
        inherited = None if earlier is None else saved_statistics(earlier)
        if inherited is not None and inherited != self.cache.statistics:
            logger.info("Latents are normalised by the statistics that the weights in %s were trained with.", earlier)
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

    def _earlier_weights(self) -> Path | None:
        """Where the weights come from that training goes on with, if that place says what they were trained on."""
        if self.config.resume is not None:
            return self.folder if (self.folder / "config.yaml").is_file() else None
        folder = None if self.config.init_from is None else Path(self.config.init_from)
        return folder if folder is not None and folder.is_dir() else None

    def _evaluate(self) -> None:
        model = _eval(next(iter(self._models().values())))

        def draw(split: str, count: int) -> tuple[Any, Any]:
            records = self.train_records if split == "train" else self.held_out
            return self.painter.draw(model, records[:count])

        metrics = self.evaluation.evaluate(draw)
        if metrics:
            self._log(self.progress.step, metrics)

    def _export(self) -> None:
        """Write model/: what is needed to use the model, and nothing of how it was trained."""
        folder = self.folder / "model"
        folder.mkdir(exist_ok=True)
        kept = sampling_config(self._resolved)
        model = next(iter(self._models().values()))
        save_weights(folder / "model.safetensors", model, self._weights_metadata(self.progress.step))
        write_config(folder, kept)
        samples = sorted((self.folder / "samples").glob("step-????????.png"))
        if samples:
            shutil.copyfile(samples[-1], folder / SAMPLES)
        card = model_card(
            self._resolved,
            parameters=count_parameters(model),
            metrics=read_metrics(self.folder / METRICS),
            device=_describe_device(self.device),
            prompt=self.cache.records[int(self.train_records[0])].prompt,
            has_samples=bool(samples),
        )
        write_card(folder, card)

    def _weights_metadata(self, step: int) -> dict[str, str]:
        return {"format": "pt", "step": str(step), "model": json.dumps(self._resolved["model"])}

    def _write_records(self) -> None:
        """Write what shaped the run into its folder: only now that nothing stands against it any more.

        A resumed run's changes must not outlive an attempt that fails, so Hydra is told not to write its copy.
        """
        _replace_text(self.folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(self._resolved)))
        if self.config.resume is not None:
            _replace_text(self.folder / ".hydra" / "config.yaml", OmegaConf.to_yaml(self.config))
        data = {
            "latent_cache": self.cache.fingerprint,
            "validation_table": None if self.table is None else self.table.digest,
        }
        write_environment(self.folder / "environment.json", _describe_device(self.device), data)

    def _shared_folder(self, folder: Path) -> Path:
        """The main process's run folder: with several processes each has composed a config of its own."""
        names = [str(folder)]
        if self.accelerator.num_processes > 1:
            broadcast_object_list(names)
        return Path(names[0])

    def _run_info(self) -> RunInfo:
        # Hydra leaves multirun.yaml in a sweep's folder, which a resumed job finds there too.
        sweep = self.folder.parent if (self.folder.parent / "multirun.yaml").is_file() else None
        return RunInfo(
            folder=self.folder,
            name="/".join(self.folder.parts[-2 if sweep is None else -3 :]),
            config=self._without_statistics(),
            overrides=list(HydraConfig.get().overrides.task),
            group=None if sweep is None else "/".join(sweep.parts[-2:]),
            step=self.progress.step,
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
        logger.info("Run folder: %s", _display_path(self.folder))

    def _say_what_next(self, stopped: bool) -> None:
        folder = _display_path(self.folder)
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


def _replace_text(path: Path, text: str) -> None:
    aside = path.with_name(f"{path.name}.tmp")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


def _lock(folder: Path) -> FileLock:
    """Keep other runs out of the folder while this process lives: one started in the same second, or resuming it."""
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{_display_path(folder)}: another run is training in this folder right now.") from None
    return lock


def _eval(model: nn.Module) -> nn.Module:
    return model.eval()


def _describe_device(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({torch.get_num_threads()} threads)"


def _display_path(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
