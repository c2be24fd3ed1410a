"""What the figures of a GPU mean, said in a sentence each where they look wrong; functions of rows."""

from collections.abc import Iterator, Sequence
from typing import Any

from aaa.benchmarks.gpu_card import FAILED, RECORDED, Row
from aaa.benchmarks.kernels import MULTIPLYING

GOOD_MFU, POOR_MFU = 0.5, 0.3
IDLE = 0.02
SMALL_PARTS = {"EMA": 0.05, "optimizer": 0.15}  # shares of a step
WORTH = 1.05  # a gain that is more than what measuring wavers by
MOSTLY = 0.75  # of a step is spent multiplying
SLOW_LINK = 10.0  # GB/s; PCIe 3 with 16 lanes does 12
GOALS = {"DiffSynth, from cached latents": 25.0, "DiffSynth, encoding every step": 50.0}


def advice(rows: Sequence[Row]) -> list[str]:
    """A sentence on each thing that looks wrong, and on what was compared."""
    steps = [row for row in rows if "images/s" in row and "MFU" in row]
    plain = [row for row in steps if row["compiled"] == "no"]
    return [
        *_failures(rows),
        *_device(rows),
        *_attention(rows),
        *(line for row in plain for line in _step(row, plain)),
        *(line for row in steps if row not in plain for line in _compiling(row, steps)),
        *_kernels(rows),
        *_latents(rows, plain),
        *_tutorial(rows),
    ]


def _failures(rows: Sequence[Row]) -> Iterator[str]:
    failed = [f"{row['part']}, {row['what']}" for row in rows if str(row.get("note")).startswith(FAILED)]
    if failed:
        yield f"{len(failed)} measurements failed, with tracebacks in results.json: {'; '.join(failed)}"


def _device(rows: Sequence[Row]) -> Iterator[str]:
    rates = {row["what"]: row.get("TFLOP/s") or row.get("GB/s") for row in rows if row["part"] == "device"}
    fast, slow = rates.get("products of bf16 matrices"), rates.get("products of float32 matrices")
    if fast and slow and fast < slow:
        yield (
            f"bf16 {fast:.3g} TFLOP/s is slower than float32's {slow:.3g}: this device has no bf16 arithmetic, or "
            "something else uses it; trainer.precision=float32"
        )
    locked, pageable = rates.get("copy from the CPU, page-locked"), rates.get("copy from the CPU, pageable")
    if locked and locked < SLOW_LINK:
        yield f"page-locked copies at {locked:.3g} GB/s: the GPU hangs on a narrow link, latents are best resident"
    if locked and pageable and locked < WORTH * pageable:
        yield f"page-locked copies ({locked:.3g} GB/s) are no faster than pageable ones ({pageable:.3g})"


def _attention(rows: Sequence[Row]) -> Iterator[str]:
    for what in dict.fromkeys(row["what"] for row in rows if row["part"] == "attention"):
        timed = [row for row in rows if row["part"] == "attention" and row["what"] == what and "ms" in row]
        chosen = next((row for row in timed if row.get("chosen")), None)
        if not timed:
            continue
        best = min(timed, key=lambda row: row["ms"])
        if chosen is None:
            yield f"attention of {what}: the routine that torch chooses was not timed"
        elif chosen["ms"] > WORTH * best["ms"]:
            yield (
                f"attention of {what}: torch chooses {chosen['routine']} ({chosen['ms']:.3g} ms), "
                f"{best['routine']} takes {best['ms']:.3g}"
            )


def _step(row: Row, plain: Sequence[Row]) -> Iterator[str]:
    """On a row that is not compiled."""
    name, mfu, idle = _named(row), row["MFU"], row["idle"]
    larger = [other for other in plain if other["model"] == row["model"] and other["batch"] > row["batch"]]
    if idle > IDLE:
        yield (
            f"{name}: the GPU rests {idle:.0%} of the time. Launches take longer than what they launch: larger "
            "batches, or trainer.cuda_graph=true"
        )
    if mfu >= GOOD_MFU or idle > IDLE:
        return
    if any(other["MFU"] > WORTH * mfu for other in larger):
        best = max(larger, key=lambda other: other["MFU"])
        yield f"{name}: MFU {mfu:.0%}: batches too small, {best['batch']} makes it {best['MFU']:.0%}"
    elif mfu < POOR_MFU:
        yield (
            f"{name}: MFU {mfu:.0%} though the GPU is busy: what it waits for is memory. trainer.compile=true fuses "
            "what passes over it; a wider model multiplies more for each pass"
        )
    for part, share in SMALL_PARTS.items():
        taken = row.get(f"{part} ms", 0.0) / row["step ms"]
        if taken > share:
            yield f"{name}: {part} is {taken:.0%} of a step: a larger batch has fewer of them"


def _compiling(row: Row, steps: Sequence[Row]) -> Iterator[str]:
    same = [other for other in steps if (other["model"], other["batch"]) == (row["model"], row["batch"])]
    before = next((other for other in same if other["compiled"] == "no"), None)
    if before is None:
        return
    gain = row["images/s"] / before["images/s"]
    how = row["compiled"].removesuffix(RECORDED)
    told = [f"trainer.compile={'true' if how == 'yes' else how}"] if how != "no" else []
    told += ["trainer.cuda_graph=true"] if how != row["compiled"] else []
    verdict = "worth it" if gain > WORTH else "not worth it" if gain > 1 / WORTH else "slower"
    yield (
        f"{_named(row)}: {' '.join(told)} makes {gain:.2f} of what it is without, and rests {row['idle']:.0%} "
        f"instead of {before['idle']:.0%}: {verdict}; the first steps took {row['first steps s']:.0f} s"
    )


def _kernels(rows: Sequence[Row]) -> Iterator[str]:
    kinds = [row for row in rows if row["part"] == "kernels" and "kind" in row]
    for what in dict.fromkeys(row["what"] for row in kinds):
        shares = {row["kind"]: row["share"] for row in kinds if row["what"] == what}
        multiplying = sum(shares.get(kind, 0.0) for kind in MULTIPLYING)
        made_of = ", ".join(f"{kind} {share:.0%}" for kind, share in shares.items())
        yield f"a step of {what}: {made_of}" + (
            "; the rest moves numbers, and what fuses or narrows it gains most" if multiplying < MOSTLY else ""
        )


def _latents(rows: Sequence[Row], plain: Sequence[Row]) -> Iterator[str]:
    for row in (row for row in rows if row["part"] == "latents" and "images/s" in row):
        same = [other for other in plain if (other["model"], other["batch"]) == (row["model"], row["batch"])]
        if same and row["images/s"] * WORTH < same[0]["images/s"]:
            yield (
                f"{row['what']}: {row['images/s']:.4g} images/s, {same[0]['images/s']:.4g} where nothing is read: "
                "batches come too late"
            )


def _tutorial(rows: Sequence[Row]) -> Iterator[str]:
    for row in (row for row in rows if row["part"] == "tutorial" and row.get("loop") in GOALS):
        over: Any = row.get("ours over it")
        goal = GOALS[row["loop"]]
        if over is not None and float(over.split()[0]) < goal:
            yield f"{row['loop']}: ours is {over} as fast, the goal is {goal:.0f} x on an H100"


def _named(row: Row) -> str:
    return f"{row['model']}, batches of {row['batch']}"
