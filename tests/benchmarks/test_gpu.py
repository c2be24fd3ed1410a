import json
import math
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from torch import Tensor

from aaa.benchmarks.gpu_advice import advice
from aaa.benchmarks.gpu_card import Card, OutOfTime, time_limit
from aaa.benchmarks.idle import busy_seconds, covered
from aaa.benchmarks.kernels import Kernel, kernel_rows, kernels_of

CPU = torch.device("cpu")


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)).map(lambda pair: (pair[0], sum(pair)))))
def test_intervals_cover_each_moment_once(intervals: list[tuple[int, int]]) -> None:
    moments = {moment for start, end in intervals for moment in range(start, end)}
    assert covered(intervals) == len(moments)


def test_a_device_that_sleeps_is_not_busy() -> None:
    matrix = torch.randn(512, 512)

    def work() -> None:
        for _ in range(3):
            torch.mm(matrix, matrix)

    def rest() -> None:
        work()
        time.sleep(0.3)

    began = time.perf_counter()
    busy = busy_seconds(rest, CPU)
    assert 0 < busy < time.perf_counter() - began - 0.3


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("nvjet_hsh_128x256_64x4_1x2_h_bz_coopA_TNT", "products of matrices"),
        ("void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm>", "products of matrices"),
        ("void pytorch_flash::flash_bwd_dq_dk_dv_loop_seqk_parallel_kernel", "attention"),
        ("cudnn_generated_fort_native_sdpa_sm90_flash_bprop_wgmma", "attention"),
        ("void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>>", "passes over memory"),
        ("triton_per_fused__to_copy_add_mul_native_layer_norm_3", "passes over memory"),
        ("void at::native::multi_tensor_apply_kernel<FusedAdamMathFunctor>", "optimizer and EMA"),
        ("triton_poi_fused_addmm_silu_7", "passes over memory"),
        ("triton_tem_fused_addmm_12", "products of matrices"),
        ("void at::native::unrolled_elementwise_kernel<at::native::bfloat16_copy_kernel_cuda>", "copies and casts"),
        ("Memcpy HtoD (Pinned -> Device)", "copies and casts"),
        ("aten::addmm", "products of matrices"),
    ],
)
def test_a_kernel_is_known_by_its_name(name: str, kind: str) -> None:
    assert Kernel(name, 1.0, 1).kind == kind


def test_what_a_step_takes_is_shared_out_over_its_kernels() -> None:
    one, other = torch.randn(256, 256), torch.randn(256, 256)
    kernels = kernels_of(lambda: [torch.mm(one, other) for _ in range(3)], CPU)
    rows = kernel_rows(kernels, 3, 1)
    (products,) = [row for row in rows if row.get("kind") == "products of matrices"]
    assert products["calls"] == 1
    assert products["share"] > 0.5
    assert rows[-1]["kernel"] == "aten::mm"
    assert sum(row["share"] for row in rows if "kind" in row) == pytest.approx(1)


def test_kernels_too_short_for_the_clock_have_no_share() -> None:
    rows = kernel_rows([Kernel("aten::mm", 0.0, 3), Kernel("aten::add", 0.0, 1)], 1, 1)
    assert [(row["ms"], row["share"]) for row in rows] == [(0, 0)] * 3


def test_time_that_is_up_ends_a_block_and_earlier_alarms_go_on() -> None:
    handler, (left, _) = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)
    with pytest.raises(OutOfTime), time_limit(0.05):
        time.sleep(60)
    with time_limit(60):
        pass
    assert signal.getsignal(signal.SIGALRM) == handler
    assert signal.getitimer(signal.ITIMER_REAL)[0] == pytest.approx(left, abs=2)


@pytest.mark.slow
def test_rows_are_on_disk_as_they_come_and_one_that_fails_costs_no_other(tmp_path: Path) -> None:
    card = Card(tmp_path, "a card", CPU)
    card.measure("plain", "one", lambda: {"images/s": 2.0})
    assert [row["images/s"] for row in json.loads((tmp_path / "results.json").read_text())["rows"]] == [2.0]

    def fail() -> dict[str, Any]:
        raise ValueError("no such kernel\nand more")

    def too_large() -> dict[str, Any]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    card.measure("plain", "two", fail)
    card.measure("plain", "three", too_large)
    card.measure("optimizer", "four", lambda: [{"ms": 1.0}, {"ms": 2.0}])
    kept = json.loads((tmp_path / "results.json").read_text())
    notes = {row["what"]: row.get("note") for row in kept["rows"]}
    assert notes == {"one": None, "two": "failed: ValueError: no such kernel", "three": "does not fit", "four": None}
    assert "ValueError: no such kernel" in kept["rows"][1]["traceback"]
    console = Console(record=True, width=200)
    console.print(card.report(["a note"]).table())
    text = console.export_text()
    assert "failed: ValueError: no such kernel" in text
    assert "Traceback" not in text
    assert "ms 2" in text
    assert kept["environment"]["python"]
    (failed,) = advice(card.rows)
    assert failed.startswith("1 measurements failed, with tracebacks in results.json: plain, two")


def step(**changed: Any) -> dict[str, Any]:
    row = {"part": "plain", "what": "a", "model": "a", "compiled": "no", "batch": 32, "images/s": 100.0}
    return row | {"step ms": 100.0, "MFU": 0.6, "idle": 0.0, "first steps s": 1.0} | changed


def said(*rows: dict[str, Any]) -> str:
    return "\n".join(advice(rows))


def test_nothing_is_said_of_steps_that_are_well() -> None:
    assert said(step(), step(batch=64)) == ""


def test_small_batches_launches_and_memory_are_told_apart() -> None:
    small, large = step(MFU=0.18), step(batch=256, MFU=0.55)
    assert said(small, large) == "a, batches of 32: MFU 18%: batches too small, 256 makes it 55%"
    assert "the GPU rests 40% of the time" in said(step(idle=0.4, MFU=0.1))
    assert "what it waits for is memory" in said(step(MFU=0.18))
    assert "what it waits for is memory" not in said(step(MFU=0.45))
    assert "EMA is 10% of a step" in said(step(MFU=0.45, **{"EMA ms": 10.0}))


@pytest.mark.parametrize(
    ("rate", "verdict"), [(150.0, "1.50 of what it is without"), (101.0, "not worth it"), (80.0, "slower")]
)
def test_a_way_to_compile_is_judged_by_the_same_steps_without(rate: float, verdict: str) -> None:
    graphs = step(part="compiled", compiled="reduce-overhead", **{"images/s": rate, "first steps s": 31.0})
    text = said(step(), step(batch=64), graphs)
    assert text.startswith("a, batches of 32: trainer.compile=reduce-overhead makes")
    assert verdict in text
    assert "31 s" in text
    assert said(step(batch=64), graphs) == ""


def test_devices_attention_latents_and_goals_are_looked_at() -> None:
    device = [
        {"part": "device", "what": "products of bf16 matrices", "TFLOP/s": 10.0},
        {"part": "device", "what": "products of float32 matrices", "TFLOP/s": 20.0},
        {"part": "device", "what": "copy from the CPU, pageable", "GB/s": 3.0},
        {"part": "device", "what": "copy from the CPU, page-locked", "GB/s": 3.1},
    ]
    assert len(advice(device)) == 3
    attention = [
        {"part": "attention", "what": "a", "routine": "math", "chosen": True, "ms": 4.0},
        {"part": "attention", "what": "a", "routine": "flash_attention", "chosen": False, "ms": 1.0},
    ]
    assert said(*attention) == "attention of a: torch chooses math (4 ms), flash_attention takes 1"
    read = {"part": "latents", "what": "a, read ahead", "model": "a", "batch": 32, "images/s": 50.0}
    assert "batches come too late" in said(step(), read)
    tutorial = {"part": "tutorial", "what": "a", "loop": "DiffSynth, from cached latents", "ours over it": "3.2 x"}
    assert "ours is 3.2 x as fast, the goal is 25 x" in said(tutorial)
    assert said(tutorial | {"ours over it": "31.0 x"}) == ""


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_the_routines_of_attention_agree_with_the_formula(device: str) -> None:
    """What attention_rows times: each routine that runs gives softmax(q k^T / sqrt(d)) v, of bf16 within 2%."""
    from torch.nn.attention import sdpa_kernel

    from aaa.benchmarks.gpu_rows import routines

    draws = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, 40, 32, generator=draws).to(device, torch.bfloat16) for _ in range(3))
    scores: Tensor = q.double() @ k.double().mT / math.sqrt(32)
    expected, ran = scores.softmax(-1) @ v.double(), 0
    for routine in routines():
        with sdpa_kernel(routine):
            try:
                found = torch.nn.functional.scaled_dot_product_attention(q, k, v)
            except RuntimeError:
                continue
        ran += 1
        assert float((found.double() - expected).norm() / expected.norm()) < 0.02
    assert ran >= 2
