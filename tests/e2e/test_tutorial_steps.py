"""`trainer=tutorial` beside DiffSynth's own training task: the same records, draws and weights, step by step."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from aaa.data.cache import LatentCache
from aaa.data.order import ShuffledOrder
from aaa.data.randomness import generator
from aaa.data.split import split_records
from aaa.diffusion.schedulers import Flux2Scheduler
from tests.e2e.conftest import SMALL, Command, losses, only_run
from tests.helpers.reference import ReferenceDiT

STEPS = 20
NUMBERS = {"dim": 64, "depth": 2, "heads": 2}  # of a model that takes seconds


def diffsynth_losses(model: ReferenceDiT, cache: LatentCache) -> list[float]:
    """Train with DiffSynth's `launch_training_task`, data order and random draws being those of our run."""
    from accelerate import Accelerator
    from diffsynth.diffusion import FlowMatchSFTLoss
    from diffsynth.diffusion.runner import launch_training_task
    from diffsynth.diffusion.training_module import DiffusionTrainingModule

    from aaa.pipelines.diffsynth_pipeline import AAAImagePipeline

    order = ShuffledOrder(split_records(cache.records, 0)[0], seed=0)

    class Records(torch.utils.data.Dataset):
        load_from_cache = False

        def __len__(self) -> int:
            return STEPS

        def __getitem__(self, _: int) -> tuple[int, torch.Tensor, torch.Tensor]:
            step = next(steps)
            return step, *cache.gather(order[range(step, step + 1)])

    class Training(DiffusionTrainingModule):
        def __init__(self) -> None:
            super().__init__()
            self.pipe = AAAImagePipeline(device="cpu", torch_dtype=torch.bfloat16)
            self.pipe.dit = model
            self.pipe.scheduler.set_timesteps(1000, training=True)

        def forward(self, data: tuple[int, torch.Tensor, torch.Tensor]) -> torch.Tensor:
            step, latents, prompt_embeds = data
            torch.manual_seed(generator(0, "step", step, 0, 0).initial_seed())
            return FlowMatchSFTLoss(self.pipe, input_latents=latents.bfloat16(), prompt_embeds=prompt_embeds.bfloat16())

    class Losses:
        def on_step_end(self, *_: Any, loss: torch.Tensor) -> None:
            found.append(loss.item())

        def on_training_end(self, *_: Any) -> None: ...

    steps, found = iter(range(STEPS)), list[float]()
    launch_training_task(
        Accelerator(cpu=True),
        Records(),
        Training(),
        Losses(),
        learning_rate=2e-4,
        num_workers=0,
        save_steps=10_000,
    )
    return found


@pytest.mark.slow
def test_twenty_steps_are_those_of_diffsynths_training_task(command: Command, tmp_path: Path) -> None:
    torch.manual_seed(0)
    reference = ReferenceDiT(**NUMBERS, in_channels=48, text_dim=128).bfloat16()
    weights = {f"pipe.dit.{name}": tensor for name, tensor in reference.state_dict().items()}
    save_file(weights, tmp_path / "step-0.safetensors")
    done = command(
        "aaa.train",
        *SMALL,
        *(f"model.{name}={value}" for name, value in NUMBERS.items()),
        "model.position_grid=16",
        "encoder=pixel",
        "trainer=tutorial",
        "scheduler=flux2",
        "trainer.batch_size=1",
        f"trainer.max_steps={STEPS}",
        "trainer.log_every_steps=1",
        "init_from=step-0.safetensors",
        "logger=none",
    )
    assert done.code == 0, done.err
    ours = losses(only_run(tmp_path))
    (folder,) = (tmp_path / ".cache" / "aaa").glob("shapes-*/")
    theirs = diffsynth_losses(reference, LatentCache(folder))
    assert list(ours) == list(range(1, STEPS + 1))
    difference = max(abs(found - wanted) / wanted for found, wanted in zip(ours.values(), theirs, strict=True))
    print(f"\n{'step':>4} {'ours':>10} {'DiffSynth':>10}")
    for (step, found), wanted in zip(ours.items(), theirs, strict=True):
        print(f"{step:4} {found:10.6f} {wanted:10.6f}")
    print(f"greatest relative difference {difference:.1e}")
    assert difference < 1e-2


def test_rounding_timesteps_leaves_384_of_the_1000_noise_levels() -> None:
    levels = Flux2Scheduler("bfloat16").draw(50_000, generator("test"))
    assert levels.sigma.unique().numel() == levels.timestep.unique().numel() == 384
    assert torch.equal(levels.timestep, levels.timestep.bfloat16().float())
    assert Flux2Scheduler().draw(50_000, generator("test")).sigma.unique().numel() == 1000
