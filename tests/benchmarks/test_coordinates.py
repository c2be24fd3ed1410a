import json
from pathlib import Path

import pytest
import torch
from torch import nn

from aaa.benchmarks.coordinates import Coordinates, Seen, compare, look, spread
from aaa.benchmarks.subject import make_subject
from aaa.errors import UserError
from tests.helpers.composed import compose

BASE = (
    "encoder=pixel",
    "objective=velocity",
    "model.base_dim=32",
    "model.base_depth=2",
    "model.base_heads=2",
    "data.resolution=16",
    "trainer.batch_size=4",
)


class Block(nn.Module):
    """A block with one branch of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)

    def layers_to_stream(self) -> list[nn.Linear]:
        return [self.leave]


def test_layers_that_write_to_the_stream_add_up_and_others_are_averaged() -> None:
    now, first = (nn.ModuleDict({"blocks": nn.ModuleList([Block(), Block()])}) for _ in range(2))
    before, after = {}, {}
    for index, grown in enumerate((1.0, 7.0)):
        for name in ("enter", "leave"):
            key = f"blocks.{index}.{name}"
            first.get_submodule(key).weight.data = torch.eye(2)
            now.get_submodule(key).weight.data = torch.eye(2) * (1 + grown)
            inputs = torch.tensor([[3.0, -3.0]])
            before[key], after[key] = Seen(inputs, inputs), Seen(inputs / 3, inputs + grown)
    found = compare(now, first, before, after)
    assert found["block.enter"] == pytest.approx((5.0, 5.0))  # root mean square of 1 and 7
    assert found["block.leave"] == pytest.approx((8.0, 8.0))


def test_looking_takes_nothing_from_training() -> None:
    config = compose(*BASE, "model.dim=32")
    losses = []
    for looks in (False, True):
        subject = make_subject(config, "cpu", precision="float32", compiled=False)
        if looks:
            seen = look(subject)
            assert seen["proj_out"].outputs.abs().max() == 0  # which starts at nothing
            assert seen["blocks.1.ff.0"].inputs.shape[-1] == 32
        losses.append([subject.bare_step(2, number).item() for number in range(3)])
        subject.close()
    assert losses[0] == losses[1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["muon", pytest.param("adamw", marks=pytest.mark.slow)])
def test_with_mup_the_first_steps_change_as_much_at_every_size(kind: str, tmp_path: Path) -> None:
    config = compose(*BASE, f"optimizer={kind}", "optimizer.learning_rate=2e-3")
    report = Coordinates(widths=[32, 256], depths=[2, 12], steps=[3], batch_size=2).run(config, "cpu")
    report.save(tmp_path, {})
    assert (tmp_path / "plot.png").stat().st_size > 10_000
    rows = [row for row in json.loads((tmp_path / "results.json").read_text())["rows"] if row["steps"] == 3]
    for along in ("width", "depth"):
        of_blocks = {
            name: [
                row[f"{name} {change}"]
                for row in rows
                for change in ("outputs", "update")
                if row["along"] == along and row["layer"].startswith("block.") and "gate" not in row["layer"]
            ]
            for name in ("standard", "mup")
        }
        assert max(of_blocks["mup"]) < 1.5
        assert max(of_blocks["standard"]) > 2
    assert report.table().row_count == len(rows)
    assert any(note.startswith("mup, by depth, at most: ") for note in report.notes)


def test_what_has_not_moved_has_no_spread() -> None:
    assert spread([2.0, 1.0, 4.0]) == 4
    assert spread([0.0, 1.0]) is None


@pytest.mark.parametrize(
    ("widths", "steps", "expected"),
    [
        ([24], [1], "bench.widths: 24 is no multiple of the width of a head of the base"),
        ([0], [1], "bench.widths=.0.: must be"),
    ],
)
def test_sizes_and_steps_that_there_are_not(widths: list[int], steps: list[int], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        Coordinates(widths, [], steps, 2).run(compose(*BASE), "cpu")
