import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from aaa.data.cache import LatentCache
from aaa.data.cached_records import NO_PICTURE, ListedRecords
from aaa.data.randomness import generator
from aaa.data.shapes import ShapesSource
from aaa.diffusion.guidance import PromptGuidance
from aaa.diffusion.prediction import VelocityPrediction
from aaa.diffusion.samplers import Euler
from aaa.diffusion.sampling import Sampling
from aaa.diffusion.schedulers import Flux2Scheduler, LinearScheduler
from aaa.encoders.statistics import LatentStatistics
from aaa.evaluation import validation
from aaa.evaluation.validation import ValidationTable, row_losses, structureless_loss, summarise, validation_table
from tests.data.test_cache import build

CPU = torch.device("cpu")
SAMPLING = Sampling(LinearScheduler(), Euler(), PromptGuidance(1), VelocityPrediction(), steps=1)


@pytest.fixture
def cache(tmp_path: Path) -> LatentCache:
    return build(tmp_path / "cache", ShapesSource(16, num_records=10, num_validation=12))


HELD_OUT = torch.arange(10, 22)


def test_the_table_covers_all_noise_levels_with_every_record(cache: LatentCache) -> None:
    table = validation_table(cache, HELD_OUT, num_records=8, timesteps_per_record=5)
    assert table is not None
    assert len(table.records) == len(table.sigmas) == 40
    assert table.records.unique().numel() == 8
    for record in table.records.unique():
        bands = (table.sigmas[table.records == record] * 5).long()
        assert bands.sort().values.tolist() == [0, 1, 2, 3, 4]
    assert table.sigmas.unique().numel() == 40
    assert validation_table(cache, torch.tensor([], dtype=torch.long), 8, 5) is None


def test_the_table_and_its_noise_are_the_same_every_time(cache: LatentCache) -> None:
    first, again = (validation_table(cache, HELD_OUT, 8, 5) for _ in range(2))
    assert first is not None
    assert again is not None
    torch.manual_seed(123)  # nothing global matters
    assert first.digest == again.digest
    assert first.content == again.content
    assert torch.equal(first.noise(torch.arange(3, 6)), again.noise(torch.arange(10))[3:6])
    fewer = validation_table(cache, HELD_OUT, 7, 5)
    assert fewer is not None
    assert fewer.digest != first.digest
    assert fewer.content != first.content


def test_each_row_has_noise_of_its_own_and_each_record_its_own_place_in_the_strata(cache: LatentCache) -> None:
    """By numbers, for losses of one table to be comparable from one version of aaa to the next."""
    table = validation_table(cache, HELD_OUT, num_records=3, timesteps_per_record=2)
    assert table is not None
    for row, noise in enumerate(table.noise(torch.arange(6))):
        assert torch.equal(noise, torch.randn(cache.shapes[0], generator=generator("validation noise", row)))
    golden = (5**0.5 - 1) / 2
    expected = [(stratum + (record * golden + 0.5) % 1) / 2 for record in range(3) for stratum in range(2)]
    assert table.sigmas.tolist() == pytest.approx(expected)


def test_the_content_of_a_table_is_that_of_its_records_whatever_encoded_them(
    cache: LatentCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made() -> ValidationTable:
        table = validation_table(cache, HELD_OUT, 8, 5)
        assert table is not None
        return table

    first = made()
    monkeypatch.setattr(cache, "fingerprint", "of another version")
    upgraded = made()
    assert upgraded.digest != first.digest
    assert upgraded.content == first.content
    gather = cache.gather
    nudged = int(first.records[0])
    for part in (0, 1):  # latents, prompt_embeds

        def otherwise(indices: Tensor, captions: Tensor | None = None, part: int = part) -> tuple[Tensor, Tensor]:
            given = gather(indices, captions)
            given[part][indices == nudged] += 1e-6
            return given

        with monkeypatch.context() as patched:
            patched.setattr(cache, "gather", otherwise)
            assert made().content != first.content
    with monkeypatch.context() as patched:
        patched.setattr(validation, "generator", lambda *key: generator(*key, "another"))
        assert made().content != first.content
    assert made().content == first.content


def test_latents_that_are_normalised_otherwise_make_another_table(cache: LatentCache) -> None:
    digests, contents = set(), set()
    for std in (1.0, 2.0):
        channels = cache.shapes[0][0]
        cache.statistics = LatentStatistics((0.1,) * channels, (std,) * channels)
        table = validation_table(cache, HELD_OUT, num_records=2, timesteps_per_record=2)
        assert table is not None
        digests.add(table.digest)
        contents.add(table.content)
    assert (len(digests), len(contents)) == (2, 2)


def test_a_model_that_knows_the_answer_has_no_loss_and_a_blind_one_the_structureless(cache: LatentCache) -> None:
    table = validation_table(cache, HELD_OUT, num_records=12, timesteps_per_record=5)
    assert table is not None
    rows = iter(range(len(table.records)))

    def knowing(latents: Tensor, prompt_embeds: Tensor, timestep: Tensor) -> Tensor:
        indices = [next(rows) for _ in range(len(latents))]
        clean, _ = cache.gather(table.records[indices])
        return table.noise(torch.tensor(indices)) - clean

    assert row_losses(knowing, SAMPLING, table, CPU, torch.float32).max().item() == pytest.approx(0, abs=1e-9)

    variance = table.latent_variance.view(-1, 1, 1)
    mean = cache.gather(table.records.unique())[0].mean(dim=(0, 2, 3)).view(-1, 1, 1)

    def blind(latents: Tensor, prompt_embeds: Tensor, timestep: Tensor) -> Tensor:
        s = (timestep / 1000).view(-1, 1, 1, 1)
        slope = (s - (1 - s) * variance) / ((1 - s).square() * variance + s.square())
        return slope * (latents - (1 - s) * mean) - mean

    metrics = summarise(row_losses(blind, SAMPLING, table, CPU, torch.float32), table)
    assert metrics["val/loss_relative"] == pytest.approx(1, abs=0.05)
    bands = [value for name, value in metrics.items() if re.fullmatch(r"val/loss_sigma_[\d._]+", name)]
    assert len(bands) == 5
    assert sum(bands) / 5 == pytest.approx(metrics["val/loss"], rel=1e-5)


@pytest.mark.parametrize("rounded", ["float32", "bfloat16"])
def test_a_model_is_told_timesteps_as_in_training_and_noised_by_the_exact_levels(
    cache: LatentCache, rounded: str
) -> None:
    table = validation_table(cache, HELD_OUT, num_records=8, timesteps_per_record=5)
    assert table is not None
    told: list[Tensor] = []

    def model(latents: Tensor, prompt_embeds: Tensor, timestep: Tensor) -> Tensor:
        told.append(timestep)
        return latents  # the loss tells how they were noised

    sampling = replace(SAMPLING, scheduler=Flux2Scheduler(rounded))
    losses = row_losses(model, sampling, table, CPU, torch.float32)
    exact = 1000 * table.sigmas
    assert torch.equal(torch.cat(told), exact.to(getattr(torch, rounded)))
    assert (torch.cat(told).float() == exact).all() == (rounded == "float32")
    assert torch.equal(losses, row_losses(model, SAMPLING, table, CPU, torch.float32))


def test_the_structureless_loss_at_its_ends() -> None:
    variance = torch.tensor([0.25, 0.25])
    clean, noise = structureless_loss(torch.tensor([0.0, 1.0]), variance)
    assert clean == pytest.approx(1.0)  # the noise cannot be guessed from a clean latent
    assert noise == pytest.approx(0.25)  # nor the latent from noise


def test_rows_of_one_record_count_once_in_the_standard_error(cache: LatentCache) -> None:
    table = validation_table(cache, HELD_OUT, num_records=8, timesteps_per_record=5)
    assert table is not None
    by_record = torch.arange(8.0).repeat_interleave(5)
    metrics = summarise(by_record, table)
    assert metrics["val/loss_standard_error"] == pytest.approx(torch.arange(8.0).std().item() / 8**0.5)
    assert metrics["val/loss_sigma_0.2_0.4_standard_error"] == pytest.approx(metrics["val/loss_standard_error"])


def test_a_band_begins_with_its_lowest_level(cache: LatentCache) -> None:
    table = validation_table(cache, HELD_OUT[:1], num_records=1, timesteps_per_record=5)
    assert table is not None
    metrics = summarise(torch.arange(5.0), replace(table, sigmas=torch.arange(5) / 5))
    assert [metrics[f"val/loss_sigma_{low / 5:.1f}_{(low + 1) / 5:.1f}"] for low in range(5)] == [0, 1, 2, 3, 4]


def test_one_record_has_no_standard_error(cache: LatentCache) -> None:
    table = validation_table(cache, HELD_OUT[:1], num_records=8, timesteps_per_record=5)
    assert table is not None
    metrics = summarise(torch.arange(5.0), table)
    assert metrics["val/loss"] == 2
    assert not [name for name in metrics if name.endswith("_standard_error")]


def test_of_the_records_of_one_picture_one_is_in_the_table(cache: LatentCache) -> None:
    """Five captions of a picture are not five pictures: the standard error would be too small."""
    alone = validation_table(cache, HELD_OUT, num_records=12, timesteps_per_record=5)
    records = list(cache.records)
    copies = {index: first for first in (10, 16) for index in range(first + 1, first + 5)}
    cache.records = ListedRecords(
        [replace(r, picture=records[copies.get(index, index)].picture) for index, r in enumerate(records)]
    )
    table = validation_table(cache, HELD_OUT, num_records=12, timesteps_per_record=5)
    assert table is not None
    assert alone is not None
    pictures = [cache.records[index].picture for index in table.records.unique().tolist()]
    assert len(pictures) == len(set(pictures)) == 4
    assert len(table.records) == 20
    cache.records = ListedRecords([*records[:11], replace(records[11], picture=records[10].picture), *records[12:]])
    one_copy = validation_table(cache, HELD_OUT, num_records=12, timesteps_per_record=5)
    assert one_copy is not None
    assert one_copy.digest == alone.digest
    cache.records = ListedRecords([replace(record, picture=None) for record in records])
    unknown = validation_table(cache, HELD_OUT, num_records=12, timesteps_per_record=5)
    assert unknown is not None
    assert unknown.digest == alone.digest  # where no picture comes twice, the table is as it was
    cache.records = ListedRecords([replace(record, key="the same", picture=NO_PICTURE) for record in records])
    earlier = validation_table(cache, HELD_OUT, num_records=12, timesteps_per_record=5)
    assert earlier is not None
    assert earlier.records.unique().numel() == 12
