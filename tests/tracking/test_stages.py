"""What went before a run, as environment.json says it, whoever has written in there."""

import json
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaa.tracking.stages import STAGES, Stage, described, in_all, read_stages

AXES = ("step", "samples", "flops", "seconds")
COUNTS = st.integers(0, 10**18)
KNOWN = st.builds(Stage, st.text(), COUNTS, COUNTS, COUNTS, st.floats(0, 1e9), st.none() | st.text())
ANY = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.just(10**400) | st.lists(inner) | st.dictionaries(st.sampled_from(["run", "kind", *AXES]), inner),
    max_leaves=8,
)


@given(st.lists(KNOWN, min_size=1, max_size=4))
def test_stages_are_read_as_they_were_written_and_add_up(stages: list[Stage]) -> None:
    written = json.loads(json.dumps({STAGES: [asdict(stage) for stage in stages]}))
    assert read_stages(written, "anywhere") == stages
    for axis in AXES:
        assert in_all(stages, axis) == pytest.approx(sum(getattr(stage, axis) for stage in stages), abs=1e-3)
    assert in_all([*stages, Stage("weights.safetensors")], "flops") is None
    assert "unknown" not in described(stages)


@given(ANY)
def test_whatever_a_file_holds_is_a_cost_or_not_known(recorded: Any) -> None:
    for stage in read_stages({STAGES: recorded}, "small"):
        assert all(cost is None or cost >= 0 for cost in (stage.step, stage.samples, stage.flops, stage.seconds))
    assert described(read_stages({STAGES: recorded}, "small"))


def test_what_is_not_known_is_not_0() -> None:
    assert read_stages({}, None) == []
    assert in_all([], "flops") == 0
    of_earlier_version = read_stages({}, "outputs/small")
    assert of_earlier_version == [Stage("outputs/small")]
    assert described(of_earlier_version) == "unknown"
    in_part = [Stage("outputs/small", 600, 19200, None, 65.0)]
    assert described(in_part) == "600 steps, 19,200 samples, unknown FLOPs, 1 min 05 s"
