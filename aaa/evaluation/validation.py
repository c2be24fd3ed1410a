"""Validation loss on a fixed table of records, noise levels and noise: the same for every run on the same data."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from aaa.data.cache import LatentCache
from aaa.data.large_split import first_of_pictures
from aaa.data.live_prompts import latents_of
from aaa.data.randomness import generator
from aaa.data.split import choose_pictures
from aaa.diffusion.prediction import Model
from aaa.diffusion.sampling import Sampling
from aaa.diffusion.schedulers import TRAIN_TIMESTEPS, add_noise, timestep_dtype
from aaa.encoders.statistics import Moments
from aaa.evaluation.sharing import Alone, Processes, groups_of, share_out
from aaa.objectives.flow_matching import velocity_error

BANDS = 5
BARS = 20  # of the histogram of losses
BATCH_SIZE = 64
MEASURE = 1  # one more whenever what is measured of a row changes: losses of before are no longer comparable then


@dataclass(frozen=True)
class TablePart:
    """The rows of one of several data sets that are mixed.

    Attributes:
        name: of it.
        rows: that are its own.
        latent_variance: of these, by channel, `C`.
    """

    name: str
    rows: slice
    latent_variance: Tensor


@dataclass(frozen=True)
class ValidationTable:
    """Rows of record, noise level and noise.

    Attributes:
        records: index of each row's record in the cache, `R`.
        sigmas: noise level of each row, `R`; each record gets one from every band of equal width.
        digest: hash of record keys, noise levels and the latents' fingerprint: equal digests, comparable losses.
        latent_variance: of the table's latents, by channel, `C`.
        parts: of a mixture; none of other data.
    """

    cache: LatentCache
    records: Tensor
    sigmas: Tensor
    digest: str
    latent_variance: Tensor
    parts: tuple[TablePart, ...] = ()

    @cached_property
    def content(self) -> str:
        """Hash of keys, noise levels, noise, latents and prompt_embeds, to the bit, and of what is measured.

        Losses of equal contents are comparable too, whatever version of aaa encoded them.
        """
        noise = [_hash_tensors(self.noise(rows[:1])) for rows in self.groups]
        records = torch.tensor(list(dict.fromkeys(self.records.tolist())))
        return _hash(
            [MEASURE, noise, content_hashes(self.cache, records), *_rows(self.cache, self.records, self.sigmas)]
        )

    @property
    def groups(self) -> list[Tensor]:
        """Numbers of rows with latents of one shape."""
        return groups_of(self.cache.shape_ids[self.records])

    def noise(self, rows: Tensor) -> Tensor:
        """The noise of these rows, `B C H W`: row r's is drawn from r alone."""
        shape = self.cache.shapes[int(self.cache.shape_ids[self.records[rows[0]]])]
        return torch.stack([torch.randn(shape, generator=generator("validation noise", row)) for row in rows.tolist()])


def validation_table(
    cache: LatentCache, held_out: Tensor, num_records: int, timesteps_per_record: int
) -> ValidationTable | None:
    """Make the table from held-out records, or None if none are held out.

    Args:
        cache: the latents.
        held_out: indices of the held-out records.
        num_records: how many of them to use, one of each picture, chosen by their keys.
        timesteps_per_record: rows of each record, their noise levels spread evenly over 0..1.
    """
    if not len(held_out):
        return None
    return table_of(cache, chosen_records(cache, held_out, num_records), timesteps_per_record)


def chosen_records(cache: LatentCache, held_out: Tensor, num_records: int) -> Tensor:
    """So many of the held-out records of a cache, one of each picture, chosen by their keys."""
    if cache.placed is None:
        return choose_pictures(cache.records, held_out, num_records)
    return first_of_pictures(held_out, cache.placed.places, num_records)


def table_of(cache: LatentCache, chosen: Tensor, timesteps_per_record: int) -> ValidationTable:
    """The table of these records, with so many rows each."""
    records = chosen.repeat_interleave(timesteps_per_record)
    # Record i's levels sit at its own offset within equal strata, so that together they cover 0..1 densely.
    offsets = (torch.arange(len(chosen)) * ((math.sqrt(5) - 1) / 2) + 0.5) % 1
    strata = torch.arange(timesteps_per_record)
    sigmas = ((strata + offsets[:, None]) / timesteps_per_record).flatten()
    normalised_by = None if cache.statistics is None else asdict(cache.statistics)
    digest = _hash([cache.fingerprint, normalised_by, cache.prompt_shape, *_rows(cache, records, sigmas)])
    return ValidationTable(cache, records, sigmas, digest, latent_variance(cache, chosen))


def _rows(cache: LatentCache, records: Tensor, sigmas: Tensor) -> tuple[list[str], list[float]]:
    return [cache.records[i].key for i in records.tolist()], sigmas.tolist()


def _hash(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def content_hashes(cache: LatentCache, records: Tensor) -> list[str]:
    """Of what a model is given of each of these records: its latents, normalised, and prompt_embeds."""
    found: dict[int, str] = {}
    for own in groups_of(cache.shape_ids[records]):
        for record, *tensors in zip(records[own].tolist(), *cache.gather(records[own]), strict=True):
            found[record] = _hash_tensors(*tensors)
    return [found[record] for record in records.tolist()]


def _hash_tensors(*tensors: Tensor) -> str:
    arrays = [tensor.cpu().contiguous().numpy() for tensor in tensors]
    shapes = repr([array.shape for array in arrays]).encode()
    return hashlib.sha256(b"".join([shapes, *(array.tobytes() for array in arrays)])).hexdigest()


def latent_variance(cache: LatentCache, records: Tensor) -> Tensor:
    """Of the latents of these records, by channel, `C`."""
    moments = Moments()
    for shape in cache.shape_ids[records].unique():
        moments.add(latents_of(cache, records[cache.shape_ids[records] == shape]))
    return moments.variance().float()


@torch.no_grad()
def row_losses(
    model: Model,
    sampling: Sampling,
    table: ValidationTable,
    device: torch.device,
    dtype: torch.dtype,
    processes: Processes | None = None,
) -> Tensor:
    """The unweighted velocity error of each row of the table, `R`, whatever the model predicts and is trained on.

    Args:
        model: in evaluation mode.
        sampling: says what it predicts, and what timesteps are rounded to, as they were in training.
        table: of rows.
        device, dtype: of the model.
        processes: that share the rows out, each with this model; None for this one alone.
    """

    def losses(rows: Tensor) -> list[float]:
        latents, prompt_embeds = table.cache.gather(table.records[rows])
        latents, prompt_embeds, noise = (
            tensor.to(device, dtype) for tensor in (latents, prompt_embeds, table.noise(rows))
        )
        sigma = table.sigmas[rows].to(device)
        noised = add_noise(latents, noise, sigma)
        timestep = (sigma * TRAIN_TIMESTEPS).to(timestep_dtype(sampling.scheduler))
        predicted = sampling.prediction.velocity(model, noised, prompt_embeds, timestep, sigma)
        return velocity_error(predicted, latents, noise).tolist()

    return torch.tensor(share_out(processes or Alone(), table.groups, BATCH_SIZE, losses))


def summarise(losses: Tensor, table: ValidationTable) -> dict[str, float]:
    """Numbers that say how the rows of the table went.

    The standard error is that of the mean over records: rows of one record are alike, and count as one. Of one record
    alone there is none.

    Args:
        losses: of each row, `R`.
        table: the rows.

    Returns:
        `val/loss`; its standard error; `val/loss_relative`, the share that is left of the loss of the best
        predictor that sees no structure (see `structureless_loss`); and `val/loss_sigma_0.2_0.4` and the like,
        the mean over each band of noise levels, each with its standard error. Of a mixture also `val/loss/PART` and
        `val/loss_relative/PART`.
    """
    structureless = structureless_loss(table.sigmas, table.latent_variance)
    metrics = _mean("val/loss", losses, table.records)
    metrics["val/loss_relative"] = (losses.mean() / structureless.mean()).item()
    for band in range(BANDS):
        low, high = band / BANDS, (band + 1) / BANDS
        inside = (table.sigmas >= low) & (table.sigmas < high)
        if inside.any():
            metrics |= _mean(f"val/loss_sigma_{low:.1f}_{high:.1f}", losses[inside], table.records[inside])
    for part in table.parts:
        own = losses[part.rows]
        known = structureless_loss(table.sigmas[part.rows], part.latent_variance)
        metrics |= _mean(f"val/loss/{part.name}", own, table.records[part.rows])
        metrics[f"val/loss_relative/{part.name}"] = (own.mean() / known.mean()).item()
    return metrics


def _mean(name: str, losses: Tensor, records: Tensor) -> dict[str, float]:
    """The mean, and its standard error where there are records enough for one."""
    _, place = records.unique(return_inverse=True)
    counts = torch.bincount(place)
    found = {name: losses.mean().item()}
    if len(counts) > 1:
        means = torch.zeros(len(counts)).index_add_(0, place, losses) / counts
        found[f"{name}_standard_error"] = means.std().item() / math.sqrt(len(counts))
    return found


def loss_by_sigma(sigmas: Tensor, losses: Tensor) -> tuple[list[float], list[float]]:
    """Mean loss in each of `BARS` equal intervals of noise levels, 0 where there is no row, and the intervals' edges.

    Args:
        sigmas, losses: of the rows, `R`.
    """
    bar = (sigmas * BARS).long().clamp(max=BARS - 1)
    sums = torch.zeros(BARS).index_add_(0, bar, losses)
    return (sums / torch.bincount(bar, minlength=BARS).clamp(min=1)).tolist(), torch.linspace(0, 1, BARS + 1).tolist()


def structureless_loss(sigma: Tensor, variance: Tensor) -> Tensor:
    """The loss of the best linear guess of each velocity from its own noised value, knowing only the statistics.

    A model that has learned nothing but each channel's mean and variance has this loss; one that sees neither
    neighbours nor prompt cannot go below it if latents are normal. With x of variance v and unit noise n, the
    noised value is (1 - s) x + s n and the velocity n - x.

    Args:
        sigma: noise levels, `R`.
        variance: of the latents by channel, `C`.

    Returns:
        Losses, `R`.
    """
    s = sigma[:, None]
    covariance = s - (1 - s) * variance
    noised_variance = (1 - s).square() * variance + s.square()
    return (1 + variance - covariance.square() / noised_variance).mean(dim=1)
