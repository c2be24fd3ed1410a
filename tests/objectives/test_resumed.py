"""A model that draws at random, with every term of the loss: gone on with from a checkpoint to the bit."""

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from aaa.data.batch import Batch
from aaa.data.randomness import generator
from aaa.diffusion.prediction import CleanPrediction
from aaa.diffusion.schedulers import LogitNormalScheduler
from aaa.errors import UserError
from aaa.models.factory import build_dit
from aaa.objectives.align import Align
from aaa.objectives.contrastive import Contrastive
from aaa.objectives.dispersive import Dispersive
from aaa.objectives.flow_matching import FlowMatching
from aaa.objectives.terms import Term
from aaa.saved.checkpoint import (
    State,
    load_of_objective,
    load_optimizer,
    load_weights,
    take_snapshot,
    write_checkpoint,
)
from aaa.training.loop import Hooks, fit
from aaa.training.progress import Progress
from aaa.training.signals import StopSignals
from aaa.training.step import Trainee
from tests.helpers.loop_settings import loop_settings
from tests.models.test_forward import DropoutBlock

STEPS, HALF, ENDS = 20, 10, 14  # the last: of the dispersive term
EMPTY = torch.zeros(3, 8)


def batches(positions: range) -> Batch:
    draws = generator("batch", positions.start)
    latents, embeds = (torch.randn(len(positions), *shape, generator=draws) for shape in ((4, 4, 4), (3, 8)))
    return Batch(latents, embeds, torch.tensor(positions) % 3, torch.tensor(positions))


def every_term() -> dict[str, Term]:
    torch.manual_seed(1)
    return {
        "contrastive": Contrastive(0.05),
        "dispersive": Dispersive(0.3, after_block=1, until_step=ENDS),
        "align": Align(0.5, 2, "latents", "conv", "cosine", True, dim=32, latent_channels=4),
        "off": Align(0.0, 2, "latents", "conv", "cosine", True, dim=32, latent_channels=4),
    }


class Trained:
    """A run of the loop, from a checkpoint if there is one, with the checkpoint that it leaves."""

    def __init__(self, folder: Path, until: int, start: Path | None = None) -> None:
        torch.manual_seed(0)
        self.model = build_dit(
            dim=32, depth=2, heads=2, in_channels=4, text_dim=8, init="torch", position_grid=4, block=DropoutBlock
        )
        scheduler = LogitNormalScheduler(mean=0.8)
        objective = FlowMatching(scheduler, EMPTY, 0.1, CleanPrediction(), "min_snr", terms=every_term())
        self.modules = nn.ModuleDict(objective.modules)
        optimizer = torch.optim.AdamW([*self.model.parameters(), *self.modules.parameters()], lr=1e-3)
        progress = Progress()
        if start is not None:
            torch.manual_seed(99)  # nothing that a checkpoint does not hold matters
            load_weights(start / "model.safetensors", self.model)
            load_of_objective(start, self.modules)
            load_optimizer(start, optimizer)
            progress = Progress(HALF, samples=HALF * 4)
        accelerator = Accelerator(cpu=True)
        model, optimizer = accelerator.prepare(self.model, optimizer)
        of_loss = {name: accelerator.prepare(module) for name, module in self.modules.items()}
        objective.use(of_loss)
        self.rows: list[dict[str, float]] = []
        trainee = Trainee(
            accelerator, model, optimizer, None, objective, batches, lambda _: 1.0, list(of_loss.values())
        )
        settings = loop_settings(seed=5, max_steps=until, batch_size=4)

        def log(step: int, metrics: dict[str, float]) -> None:
            self.rows.append({"step": step} | {k: v for k, v in metrics.items() if k.startswith("train/loss")})

        fit(trainee, settings, Hooks([], lambda *_: None, log, lambda _: ""), progress, StopSignals())
        state = State(until, 0.0, "", 0)
        snapshot = take_snapshot(state, self.model, None, optimizer.optimizer, {}, None, self.modules)
        self.checkpoint = write_checkpoint(folder, snapshot)

    def weights(self) -> dict[str, Tensor]:
        return self.model.state_dict() | self.modules.state_dict(prefix="objective.")


def test_a_run_in_two_parts_is_the_run_in_one(tmp_path: Path) -> None:
    whole = Trained(tmp_path / "whole", STEPS)
    first = Trained(tmp_path / "halves", HALF)
    second = Trained(tmp_path / "halves", STEPS, first.checkpoint)
    assert first.rows + second.rows == whole.rows
    found = second.weights()
    for name, tensor in whole.weights().items():
        assert torch.equal(found[name], tensor), name
    assert set(whole.modules) == {"align"}
    moved = Trained(tmp_path / "none", 1).weights()["objective.align.weight"] - found["objective.align.weight"]
    assert moved.abs().max() > 1e-3
    terms = {"train/loss", "train/loss_velocity", "train/loss_contrastive", "train/loss_align"}
    for row in whole.rows:
        assert set(row) - {"step"} == terms | {"train/loss_dispersive"}
        assert (row["train/loss_dispersive"] == 0) == (row["step"] > ENDS)
        parts = sum(value for key, value in row.items() if key.startswith("train/loss_"))
        assert row["train/loss"] == pytest.approx(parts, abs=1e-5)


def test_terms_with_weights_of_their_own_are_not_changed_on_the_way(tmp_path: Path) -> None:
    checkpoint = Trained(tmp_path / "run", 1).checkpoint
    with pytest.raises(UserError, match=r"objective\.terms\.align\.weight: the run was trained with this term"):
        load_of_objective(checkpoint, nn.ModuleDict())
    with pytest.raises(UserError, match=r"objective\.terms\.align: the run was trained with other keys of this term"):
        load_of_objective(checkpoint, nn.ModuleDict({"align": nn.Conv2d(2, 2, 3)}))
    with pytest.raises(UserError, match=r"number of parameter groups.*or optimizer\.decayed or model\.parametrization"):
        load_optimizer(checkpoint, torch.optim.AdamW([{"params": [torch.zeros(1)]}, {"params": [torch.zeros(2)]}]))
    (checkpoint / "objective.safetensors").unlink()
    with pytest.raises(UserError, match=r"objective\.terms\.align\.weight: the run was trained without this term"):
        load_of_objective(checkpoint, nn.ModuleDict({"align": nn.Linear(2, 2)}))
    load_of_objective(checkpoint, nn.ModuleDict())
