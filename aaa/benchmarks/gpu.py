"""One card of figures for a GPU, within minutes: what it can do, what training makes of it, and what looks wrong."""

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import hydra
import torch
from omegaconf import DictConfig

from aaa.assembly.parts import build_model
from aaa.benchmarks import gpu_rows
from aaa.benchmarks.checkpoint import Checkpointing
from aaa.benchmarks.commands import typed
from aaa.benchmarks.counts import AUTO, Count, CountOrAuto
from aaa.benchmarks.gpu_advice import advice
from aaa.benchmarks.gpu_card import Card, OutOfTime, Row, time_limit
from aaa.benchmarks.report import Report
from aaa.benchmarks.tutorial import Tutorial
from aaa.benchmarks.ways import optimizer_ways, way_row
from aaa.config.checks import check_config
from aaa.config.compiling import records_graphs
from aaa.errors import UserError, nearest
from aaa.run.session import Session
from aaa.tracking import console
from aaa.training.precision import choose_precision
from aaa.training.timing import matmul_rate
from aaa.training.tuning import tune_for

logger = logging.getLogger(__name__)


class Measurement(NamedTuple):
    """What is measured, and what measures it."""

    what: str
    action: Callable[[], Row | list[Row]]


class Gpu:
    """Measures part by part until the time is up; on a CPU too, which shows that each part runs.

    Args:
        seconds: after which it ends, wherever it is.
        row_seconds: that the steps of a row are measured for.
        parts: what to measure, in this order: `device`, `attention`, `plain` steps, their `kernels`, `latents`,
            `optimizer`, `checkpoint`, `tutorial`, `compiled` steps, `recorded` ones.
        models: names of those to measure.
        overrides: of a training run, by the model's name.
        batches: sizes for each model; `auto`: as many samples as fit, up to `most`.
        most: samples of a batch.
        compiled: model, batch and `trainer.compile` of each row of that part, in this order.
        recorded: the same of steps by `trainer.cuda_graph`.
        judged: the model whose kernels, latents, optimizer and checkpoints are measured.
        kernels: to name of a step, those that take longest.
        prompt_tokens: to which prompts are trimmed.
        copied_bytes: of the copies that are measured.
        tutorial: measures the tutorial's loop beside ours.

    Raises:
        UserError: if there is no such part or model.
    """

    def __init__(
        self,
        seconds: float,
        row_seconds: float,
        parts: Sequence[str],
        models: Sequence[str],
        overrides: Mapping[str, Sequence[str]],
        batches: Sequence[CountOrAuto],
        most: Count,
        compiled: Sequence[tuple[str, int | str, bool | str]],
        recorded: Sequence[tuple[str, int | str, bool | str]],
        judged: str,
        kernels: Count,
        prompt_tokens: Count,
        copied_bytes: Count,
        tutorial: Tutorial,
    ) -> None:
        self.seconds, self.row_seconds, self.copied_bytes, self.tutorial = seconds, row_seconds, copied_bytes, tutorial
        self.batches, self.most, self.judged, self.prompt_tokens = batches, most, judged, prompt_tokens
        self.kernels = kernels
        self.models, self.overrides = models, overrides
        self.compiled, self.recorded = ([row for row in rows if row[0] in models] for rows in (compiled, recorded))
        known = {
            "device": self._device,
            "attention": self._attention,
            "plain": self._plain,
            "kernels": self._kernels,
            "latents": self._latents,
            "optimizer": self._optimizer,
            "checkpoint": self._checkpoint,
            "tutorial": self._tutorial,
            "compiled": self._compiled,
            "recorded": self._recorded,
        }
        _require("bench.parts", parts, known)
        _require("bench.models", models, overrides)
        _require("bench.judged", [judged], overrides)
        _require("bench.compiled", [str(name) for name, _, _ in compiled], overrides)
        _require("bench.recorded", [str(name) for name, _, _ in recorded], overrides)
        self.parts = {name: known[name] for name in parts}
        self._batch_that_fits: dict[str, int] = {}
        self._rates: dict[torch.dtype, float] = {}

    def run(self, config: DictConfig, device: str) -> Report:
        """Measure."""
        card = Card(Path(config.output_dir), f"A card of {device}", torch.device(device))
        logger.info("Rows are kept in %s/results.json as they come, for %g s at most.", card.folder, self.seconds)
        tune_for(device)
        logging.getLogger(console.__name__).setLevel(logging.WARNING)  # a line of progress for each row is enough
        self.device = device
        left, ended = list(self.parts), []
        try:
            with time_limit(self.seconds):
                for name, part in self.parts.items():
                    for what, action in part():
                        card.measure(name, what, action)
                    left.remove(name)
        except OutOfTime:
            ended = [f"bench.seconds={self.seconds:g} were over; not wholly measured: {', '.join(left)}"]
        return card.report([*ended, *advice(card.rows)])

    def _config(self, name: str) -> DictConfig:
        """The config of one of the models, with whatever else the command was told."""
        config = hydra.compose("train", [*self.overrides[name], *typed(), "output_dir=outputs/bench"])
        check_config(config)
        config.trainer.precision = choose_precision(config.trainer.precision, torch.device(self.device))
        config.trainer.cuda_graph = False  # but for the rows that are about it
        return config

    def _device(self) -> Iterator[Measurement]:
        yield Measurement("by itself", partial(gpu_rows.device_rows, torch.device(self.device), self.copied_bytes))

    def _attention(self) -> Iterator[Measurement]:
        for name in self.models:
            yield Measurement(name, partial(self._routines_of, name))

    def _routines_of(self, name: str) -> list[Row]:
        config, device = self._config(name), torch.device(self.device)
        return gpu_rows.attention_rows(config, device, self._first_batch(), self.prompt_tokens)

    def _first_batch(self) -> int:
        return next((int(batch) for batch in self.batches if batch != AUTO), 1)

    def _plain(self) -> Iterator[Measurement]:
        for name in self.models:
            for batch in self.batches:
                yield Measurement(f"{name}, {batch}", partial(self._step, name, batch, how=False))

    def _kernels(self) -> Iterator[Measurement]:
        for how in (False, True) if self.device == "cuda" else (False,):  # compiling for a CPU takes a minute
            yield Measurement(f"{self.judged}, compiled {how}".lower(), partial(self._kernels_of_step, how=how))

    def _kernels_of_step(self, *, how: bool) -> list[Row]:
        config = self._config(self.judged)
        batch = self._batch_that_fits.get(self.judged) or self._first_batch()
        with gpu_rows.opened(config, self.device, compiled=how, prompt_tokens=self.prompt_tokens) as subject:
            return gpu_rows.kernels_of_step(subject, batch, self.kernels)

    def _compiled(self) -> Iterator[Measurement]:
        for name, batch, how in self.compiled:
            if records_graphs(how) and self.device == "cpu":
                continue
            yield Measurement(f"{name}, {batch}, {how}", partial(self._step, str(name), batch, how))

    def _recorded(self) -> Iterator[Measurement]:
        for name, batch, how in self.recorded if self.device == "cuda" else ():
            measure = partial(self._step, str(name), batch, how, recorded=True)
            yield Measurement(f"{name}, {batch}, {how}, recorded", measure)

    def _latents(self) -> Iterator[Measurement]:
        for what, near in (("resident", True), ("read ahead", False)):
            yield Measurement(f"{self.judged}, {what}", partial(self._step_from_cache, near=near))

    def _optimizer(self) -> Iterator[Measurement]:
        def rows() -> list[Row]:
            device = torch.device(self.device)
            model = build_model(self._config(self.judged)).to(device)
            return [way_row(way, device, gpu_rows.REPEATS) for way in optimizer_ways(model)]

        yield Measurement(self.judged, rows)

    def _checkpoint(self) -> Iterator[Measurement]:
        yield Measurement(
            self.judged, lambda: list(Checkpointing(repeats=1).run(self._config(self.judged), self.device).rows)
        )

    def _tutorial(self) -> Iterator[Measurement]:
        yield Measurement(self.judged, lambda: list(self.tutorial.run(self._config(self.judged), self.device).rows))

    def _step(self, name: str, batch: int | str, how: bool | str, *, recorded: bool = False) -> Row:
        config = self._config(name)
        config.trainer.cuda_graph = recorded
        with gpu_rows.opened(config, self.device, compiled=how, prompt_tokens=self.prompt_tokens) as subject:
            if batch == AUTO and name not in self._batch_that_fits:
                if how or recorded:
                    return {"model": name, "note": "left out: what fits is measured by the part `plain`"}
                self._batch_that_fits[name] = gpu_rows.fitting_batch(subject, self.most)
            size = self._batch_that_fits[name] if batch == AUTO else int(batch)
            if not size:
                return {"model": name, "note": "does not fit"}
            row = gpu_rows.step_row(subject, config, size, how, self.row_seconds, self._peak(subject.session))
            return {"model": name} | row | gpu_rows.part_columns(subject, size)

    def _step_from_cache(self, *, near: bool) -> Row:
        name = self.judged
        config, batch = self._config(name), self._batch_that_fits.get(name) or self._first_batch()
        with (
            gpu_rows.opened(config, self.device, compiled=False, prompt_tokens=self.prompt_tokens) as subject,
            tempfile.TemporaryDirectory() as folder,
        ):
            loader = gpu_rows.fed_from_cache(subject, config, Path(folder) / "cache", batch, near=near)
            row = gpu_rows.step_row(subject, config, batch, False, self.row_seconds, self._peak(subject.session))
            loader.close()
            return {"model": name} | row

    def _peak(self, session: Session) -> float:
        """Floating-point operations a second of products of matrices, in the precision of the session."""
        dtype = session.product_dtype
        if dtype not in self._rates:
            self._rates[dtype] = matmul_rate(session.device, dtype)
        return self._rates[dtype]


def _require(key: str, named: Sequence[str], known: Mapping[str, object]) -> None:
    if strange := [name for name in named if name not in known]:
        there = list(known)
        raise UserError(f"{key}: there is no {strange[0]}{nearest(strange[0], there)}. There is: {', '.join(there)}.")
