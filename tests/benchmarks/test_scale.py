"""Plans past this machine, against numbers worked out by hand and against what others have published."""

from dataclasses import replace
from typing import Any

import pytest
from hydra.utils import instantiate

from aaa.benchmarks.scale import Hardware, Scale, Work, fastest_step, network_seconds, state_bytes, work_of
from tests.helpers.composed import compose

H100 = Hardware(989e12, 0.3, 80e9, 8, 450e9, 50e9, 20e9, 300)
BILLION = Work(10**9, 2e12, 384, 2048, 20, 2048, 327_680)


def test_what_a_gpu_holds_is_a_copy_or_a_share() -> None:
    assert state_bytes(BILLION, "ddp", 64, H100) == 22e9
    # A share of 20 bytes a weight, and two blocks of fifty million weights in bf16 with their gradients in float32.
    assert state_bytes(BILLION, "fsdp", 64, H100) == pytest.approx(20e9 / 64 + 2 * 6 * 50e6)
    assert state_bytes(BILLION, "hsdp", 64, H100) == pytest.approx(20e9 / 8 + 2 * 6 * 50e6)


def test_what_gpus_tell_each_other_goes_over_the_slowest_way_between_them() -> None:
    assert network_seconds(BILLION, "ddp", 8, 1, H100) == pytest.approx(2 * 4e9 * 7 / 8 / 450e9)
    assert network_seconds(BILLION, "ddp", 64, 1, H100) == pytest.approx(2 * 4e9 * 63 / 64 / 50e9)
    # Weights are gathered for each pass of each micro-batch; gradients are told once.
    assert network_seconds(BILLION, "fsdp", 64, 3, H100) == pytest.approx((3 * 4e9 + 4e9) * 63 / 64 / 50e9)
    within = (4e9 + 4e9) * 7 / 8 / 450e9
    assert network_seconds(BILLION, "hsdp", 64, 1, H100) == pytest.approx(within + 2 * 0.5e9 * 7 / 8 / 50e9)
    assert network_seconds(BILLION, "ddp", 1, 1, H100) == 0


def test_the_way_is_what_fits_and_is_fastest() -> None:
    step = fastest_step(BILLION, 8, H100)
    assert step is not None
    assert (step.way, step.recomputed) == ("ddp", False)
    assert step.at_once * step.micro_batches >= 2048 / 8
    assert step.memory <= 0.85 * 80e9
    eight = replace(BILLION, parameters=8 * 10**9, width=4608, depth=32)
    sharded = fastest_step(eight, 8, H100)
    assert sharded is not None
    assert sharded.way == "fsdp"
    assert fastest_step(eight, 1, H100) is None
    small = fastest_step(eight, 8, replace(H100, memory=32e9))
    assert small is not None
    assert small.recomputed
    assert small.compute == pytest.approx(sharded.compute * 4 / 3)


def test_of_many_gpus_and_a_fixed_batch_the_network_is_the_limit() -> None:
    scale = Scale([8, 512], [1e6, 1e9], H100)
    config = compose("model=dit_1b", "data=pokemon", "trainer.batch_size=2048")
    work = work_of(config)
    assert (work.parameters, work.tokens, work.picture_bytes) == (
        1_014_925_440,
        256 + 128,
        128 * 256 * 2 + 128 * 1024 * 2,
    )
    without_prompts = work_of(compose("model=dit_1b", "data=pokemon", "encoder.cache_prompts=false"))
    assert (without_prompts.tokens, without_prompts.picture_bytes) == (256 + 128, 128 * 256 * 2)
    assert work.flops == pytest.approx(6 * work.parameters * work.tokens, rel=0.2), "and attention"
    rows = scale.run(config, "cpu").rows
    assert [(row["GPUs"], row["limit"]) for row in rows] == [(8, "compute")] * 2 + [(512, "network")] * 2
    assert rows[1]["cache TB"] == pytest.approx(327.68)
    assert rows[1]["a pass, days"] == pytest.approx(1e9 / rows[1]["images/s"] / 86_400)
    assert rows[2]["images/s"] > 20 * rows[0]["images/s"]


@pytest.mark.parametrize(("storage", "limit"), [(20e9, "compute"), (1e8, "storage")])
def test_where_storage_is_the_limit_no_more_is_trained_than_read(storage: float, limit: str) -> None:
    scale = Scale([8], [1e6], replace(H100, storage=storage))
    (row,) = scale.run(compose("model=dit_1b", "data=pokemon", "trainer.batch_size=2048"), "cpu").rows
    assert row["limit"] == limit
    assert (row["read GB/s"] == pytest.approx(storage / 1e9)) == (limit == "storage")
    assert row["a pass, days"] == pytest.approx(1e6 / row["images/s"] / 86_400)


def test_the_file_of_the_command_is_what_is_documented() -> None:
    bench: dict[str, Any] = compose("bench=scale", config_name="bench").bench
    scale = instantiate(bench)
    assert isinstance(scale, Scale)
    assert scale.hardware == H100


def test_published_runs_lie_within_a_factor_of_what_is_computed() -> None:
    # PRX-1.2B at 256 x 256: 3.95 batches of 256 a second on what its microbatches of 32 say are 8 GPUs. It encodes as
    # it trains: T5Gemma's 2B for 256 tokens, and a VAE of 0.27 TFLOPs.
    flops = 6 * 1.24e9 * 256 + 2 * 2e9 * 256 + 0.27e12
    step = fastest_step(replace(BILLION, parameters=1_240_000_000, flops=flops, batch_size=256), 8, H100)
    assert step is not None
    assert 1 / 1.5 < (1 / step.seconds) / 3.95 < 1.5
    # micro_diffusion: the latents of 37 million pictures take about 7 TB: CLIP's 77 x 1024 and 4 x 64 x 64, in 16 bits.
    assert pytest.approx(7e12, rel=0.05) == 37e6 * 2 * (77 * 1024 + 4 * 64 * 64)
