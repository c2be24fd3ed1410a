"""Tracing a step that went wrong, or whose loss stands out, to its records and noise levels."""

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from aaa.data.live_prompts import latents_of
from aaa.data.randomness import generator
from aaa.data.split import micro_batch
from aaa.objectives.flow_matching import Objective
from aaa.run.latent_loader import LatentLoader
from aaa.tracking.files import append_line
from aaa.tracking.finite_json import to_json
from aaa.tracking.tracker import ODD_STEPS
from aaa.training.anomalies import Anomaly
from aaa.training.norms import as_numbers, total_norms
from aaa.training.progress import Progress
from aaa.training.settings import LoopSettings

logger = logging.getLogger(__name__)

NAMED = 5  # samples in a message
LARGEST = 3  # parameters in a message


@dataclass(frozen=True)
class AnomalyLog:
    """Writes odd steps to `odd_steps.jsonl`, with the record, the timestep and the loss of each of their samples.

    Nothing of this is kept while training: which records and noise levels a step has follows from the seed.

    Args:
        folder: of the run.
        loader: the data order, and the records.
        objective: drew what was random.
        model: its parameters are measured.
        settings: of the training loop.
        progress: of the run, which says where in the data order a step was.
        device: that drew them.
        writes: whether this is the process that does; the others only take part in what all measure together.
    """

    folder: Path
    loader: LatentLoader
    objective: Objective
    model: nn.Module
    settings: LoopSettings
    progress: Progress
    device: torch.device
    writes: bool = True

    def report(self, step: Anomaly) -> str:
        """Write a step down, warn of it if it was skipped, and describe it."""
        norms = _largest_norms(self.model)
        if not self.writes:
            return f"Step {step.step}: see the first process."
        samples = self.samples_of(step)
        row = {
            "step": step.step,
            "kind": step.kind,
            "loss": step.loss,
            "grad_norm": step.grad_norm,
            "samples": samples,
            "parameter_norms": norms,
        }
        append_line(self.folder / ODD_STEPS, to_json(row))
        suspects = [sample for sample in samples if not math.isfinite(sample["loss"])] or samples[:1]
        named = ", ".join(f"{sample['record']!r} at timestep {sample['timestep']:.1f}" for sample in suspects[:NAMED])
        more = f" and {len(suspects) - NAMED} more" if len(suspects) > NAMED else ""
        weights = ", ".join(f"{name} {norm:.3g}" for name, norm in norms.items())
        went = "went wrong with" if step.kind != "spike" else "was highest for"
        described = (
            f"The loss became {step.loss:.4g} (gradient norm {step.grad_norm:.4g}) at step {step.step}; it {went} "
            f"{named or 'samples of an earlier process'}{more}. Largest parameter norms: {weights}. "
            f"All its samples are in {ODD_STEPS}."
        )
        if step.kind == "skipped":
            logger.warning("Step %d is left out. %s", step.step, described)
        return described

    def samples_of(self, step: Anomaly) -> list[dict[str, Any]]:
        """Record, prompt, timestep and loss of each sample of a step, highest loss first."""
        samples = []
        first = self.progress.samples - (self.progress.step - step.step + 1) * self.settings.batch_size
        for rank, losses in enumerate(step.sample_losses):
            for micro in range(self.settings.gradient_accumulation_steps):
                part = micro_batch(
                    0,
                    micro,
                    rank,
                    batch_size=self.settings.batch_size,
                    micro_batches=self.settings.gradient_accumulation_steps,
                    processes=len(step.sample_losses),
                )
                share, positions = len(part), range(first + part.start, first + part.stop)
                draws = generator(self.loader.seed, "step", step.step - 1, micro, rank, device=self.device)
                records = self.loader.records_at(positions)
                latents = latents_of(self.loader.cache, torch.tensor(records))
                drawn = self.objective.draw(latents.to(self.device), draws)
                for place, (index, prompt) in enumerate(zip(records, self.loader.prompts_at(positions), strict=True)):
                    samples.append(
                        {
                            "record": self.loader.cache.records[index].key,
                            "prompt": "" if bool(drawn.dropped[place]) else prompt,
                            "timestep": round(drawn.levels.timestep[place].item(), 3),
                            "loss": losses[micro * share + place],
                        }
                    )
        return sorted(samples, key=lambda sample: -sample["loss"] if math.isfinite(sample["loss"]) else -math.inf)


def _largest_norms(model: nn.Module) -> dict[str, float]:
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    norms = as_numbers(dict(zip(weights, total_norms([[weight] for weight in weights.values()]), strict=True)))
    largest = sorted(norms, key=lambda name: norms[name] if math.isfinite(norms[name]) else math.inf, reverse=True)
    return {name: norms[name] for name in largest[:LARGEST]}
