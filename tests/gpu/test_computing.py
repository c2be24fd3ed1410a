"""Parts of a run on a GPU beside the same on a CPU. The bounds held on an H100."""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from aaa.data.batch import Batch
from aaa.data.randomness import generator
from aaa.diffusion.prediction import VelocityPrediction
from aaa.diffusion.schedulers import LinearScheduler
from aaa.models.dit import AAADiT
from aaa.models.factory import build_dit
from aaa.objectives.flow_matching import FlowMatching
from aaa.saved.checkpoint import State, load_optimizer, load_weights, take_snapshot
from aaa.saved.checkpoint_folders import MODEL, newest_whole
from aaa.saved.checkpoint_keeper import CheckpointKeeper, Keep
from aaa.training.compiling import compile_model
from aaa.training.ema import EMA, decaying
from aaa.training.fitting import largest_batch, measure_footprint
from aaa.training.memory import available_memory
from aaa.training.optimizers import MuonWithAdamW
from aaa.training.recomputing import recompute_activations
from aaa.training.step import sum_of
from tests.gpu.conftest import GPU

SAMPLES, CHANNELS, SIDE, TOKENS, TEXT_DIM = 6, 4, 8, 5, 16
CUDA = torch.device("cuda")


def make_model(dim: int = 64, depth: int = 3) -> AAADiT:
    torch.manual_seed(0)
    return build_dit(dim=dim, depth=depth, heads=2, in_channels=CHANNELS, text_dim=TEXT_DIM, init="torch")


def inputs(device: torch.device, samples: int = SAMPLES) -> tuple[Tensor, Tensor, Tensor]:
    draws = torch.Generator().manual_seed(1)
    latents = torch.randn(samples, CHANNELS, SIDE, SIDE, generator=draws)
    prompt_embeds = torch.randn(samples, TOKENS, TEXT_DIM, generator=draws)
    return latents.to(device), prompt_embeds.to(device), torch.linspace(50, 950, samples, device=device)


def objective(device: torch.device) -> FlowMatching:
    return FlowMatching(LinearScheduler(), torch.zeros(TOKENS, TEXT_DIM, device=device), 0.1, VelocityPrediction())


def loss_of(model: nn.Module, device: torch.device, step: int = 0, samples: int = SAMPLES) -> Tensor:
    latents, prompt_embeds, _ = inputs(device, samples)
    draws = generator("gpu", step, device=device)
    terms = objective(device)(model, Batch.of_strangers(latents, prompt_embeds), draws, step)
    return sum_of(terms).mean()


def gradients(model: nn.Module) -> Tensor:
    parts = [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
    return torch.cat(parts).double().cpu()


class Training:
    """Steps of a small model by the default optimizer, with an average of its weights."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.model = device, make_model().to(device)
        self.ema = EMA(self.model, decaying(0.9))
        self.optimizer = MuonWithAdamW(self.model.named_parameters(), 1e-3, 0.01, 0.95, (0.9, 0.99))

    def step(self, number: int) -> float:
        loss = loss_of(self.model, self.device, number)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.update_parameters(self.model)
        return loss.item()


def test_a_generator_replays_a_step_and_tells_steps_apart(device: torch.device) -> None:
    latents, *_ = inputs(device)
    one, same, other = (objective(device).draw(latents, generator(0, step, device=device)) for step in (1, 1, 2))
    assert one.noise.device.type == one.levels.sigma.device.type == device.type
    assert torch.equal(one.noise, same.noise)
    assert torch.equal(one.levels.sigma, same.levels.sigma)
    assert not torch.equal(one.noise, other.noise)
    own = generator(0, 1, device=device)
    assert own.initial_seed() == generator(0, 1).initial_seed()  # what blocks that draw make theirs from
    many = torch.randn(10**6, generator=own, device=device)
    assert abs(float(many.mean())) < 0.005
    assert abs(float(many.std()) - 1) < 0.005


def test_float32_is_near_a_cpus(device: torch.device) -> None:
    """Of the velocity 1e-3 of its size, as products may be TF32's with 10 bits; of gradients the direction."""
    here, there = make_model(), make_model().to(device)
    cpu = torch.device("cpu")
    with torch.no_grad():
        expected, found = here(*inputs(cpu)), there(*inputs(device)).cpu()
    assert float((found - expected).norm() / expected.norm()) < 1e-3
    for model, place in ((here, cpu), (there, device)):
        model(*inputs(place)).square().mean().backward()
    assert torch.cosine_similarity(gradients(here), gradients(there), dim=0) > 0.9999


def test_bf16_is_near_a_cpus_float32(device: torch.device) -> None:
    """Of the velocity 2% of its size, of gradients a cosine of 0.99, under autocast as training has it."""
    here, there = make_model(), make_model().to(device)
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
        found = there(*inputs(device)).float().cpu()
    with torch.no_grad():
        expected = here(*inputs(torch.device("cpu")))
    assert 0 < float((found - expected).norm() / expected.norm()) < 0.02
    here(*inputs(torch.device("cpu"))).square().mean().backward()
    with torch.autocast(device.type, torch.bfloat16):
        loss = there(*inputs(device)).float().square().mean()
    loss.backward()
    assert torch.cosine_similarity(gradients(here), gradients(there), dim=0) > 0.99


def test_weights_looked_at_under_autocast_get_gradients_afterwards(device: torch.device) -> None:
    """Autocast keeps bf16 copies of weights while it is on: one made where nothing is learned must not outlive it."""
    model = make_model().to(device)
    with torch.autocast(device.type, torch.bfloat16), torch.no_grad():
        model(*inputs(device))
    with torch.autocast(device.type, torch.bfloat16):
        loss = model(*inputs(device)).float().square().mean()
    loss.backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not without


def test_a_checkpoint_in_the_background_resumes_with_the_same_losses(tmp_path: Path, device: torch.device) -> None:
    """With deterministic routines to the bit; training goes on, and changes the weights, while it is written."""
    torch.use_deterministic_algorithms(True)
    try:
        first = Training(device)
        for number in range(4):
            first.step(number)
        keeper = CheckpointKeeper(tmp_path / "checkpoints", Keep(), in_background=True)
        state = State(4, 0.0, "gpu", int(first.ema.n_averaged))
        keeper.save(take_snapshot(state, first.model, first.ema.module, first.optimizer, {"format": "pt"}), wait=False)
        went_on = [first.step(number) for number in range(4, 8)]
        keeper.wait()
        keeper.close()
        second, found = Training(device), newest_whole(tmp_path)
        assert found is not None
        load_weights(found / MODEL, second.model)
        load_optimizer(found, second.optimizer)
        assert [second.step(number) for number in range(4, 8)] == went_on
    finally:
        torch.use_deterministic_algorithms(False)


def test_deterministic_training_repeats_to_the_bit(device: torch.device) -> None:
    torch.use_deterministic_algorithms(True)
    try:
        one, other = (Training(device) for _ in range(2))
        assert [one.step(number) for number in range(4)] == [other.step(number) for number in range(4)]
        averages = [list(run.ema.module.parameters()) for run in (one, other)]
        assert all(torch.equal(*pair) for pair in zip(*averages, strict=True))
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("offload", [False, True])
@pytest.mark.parametrize("place", [pytest.param("cpu", marks=pytest.mark.slow), GPU])  # DiffSynth takes 10 s to import
def test_recomputed_activations_give_the_same_gradients(place: str, offload: bool) -> None:
    """Within 1e-5, as the same kernels run again; under autocast, whose state the second pass must have too."""
    device = torch.device(place)
    plain = make_model().to(device)
    thrifty = deepcopy(plain)
    recompute_activations(thrifty, offload=offload)
    for model in (plain, thrifty):
        with torch.autocast(device.type, torch.bfloat16):
            loss = loss_of(model, device)
        loss.backward()
    torch.testing.assert_close(gradients(thrifty), gradients(plain), rtol=1e-5, atol=1e-7)


@pytest.mark.gpu
def test_recomputation_takes_less_memory_and_offload_less_still() -> None:
    peaks = []
    for change in (None, False, True):
        model = make_model(dim=256, depth=8).to(CUDA)
        if change is not None:
            recompute_activations(model, offload=change)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        loss_of(model, CUDA, samples=256).backward()
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[1] < 0.5 * peaks[0]
    assert peaks[2] < peaks[1]


@pytest.mark.gpu
@pytest.mark.parametrize("how", [True, "static", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"])
def test_compiled_training_loses_as_much(how: bool | str) -> None:
    """Losses within 1%: sums in another order, which steps of Muon, made of signs, do not keep small for long."""
    plain, compiled = Training(CUDA), Training(CUDA)
    assert compile_model(compiled.model, CUDA, how)
    losses = [[run.step(number) for number in range(8)] for run in (plain, compiled)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)
    torch.compiler.reset()


@pytest.mark.gpu
def test_cuda_graphs_keep_gradients_of_different_batches_apart() -> None:
    """A graph writes to the same places each time: what a step took from them must be of that step."""
    plain, graphed = make_model().to(CUDA), make_model().to(CUDA)
    assert compile_model(graphed, CUDA, "reduce-overhead")
    for number in range(6):
        for model in (plain, graphed):
            model.zero_grad()
            loss_of(model, CUDA, number).backward()
        assert torch.cosine_similarity(gradients(plain), gradients(graphed), dim=0) > 0.9999
    torch.compiler.reset()


@pytest.mark.gpu
def test_the_largest_batch_takes_what_was_foretold() -> None:
    """What is foretold of a batch is within 30% of what it takes."""
    model = make_model(dim=512, depth=8).to(CUDA)
    forward: Callable[[int], Tensor] = partial(loss_of, model, CUDA, 0)
    footprint = measure_footprint(forward, model, CUDA)
    batch_size = largest_batch(footprint, 1, 1, 10**6, CUDA)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    torch.cuda.reset_peak_memory_stats()
    for _ in range(2):
        forward(batch_size).backward()
        optimizer.step()
        optimizer.zero_grad()
    peak = torch.cuda.max_memory_allocated()
    assert peak < available_memory(CUDA)
    assert peak == pytest.approx(footprint.of(batch_size), rel=0.3)


@pytest.mark.gpu
def test_the_padding_mask_goes_with_the_fused_routines() -> None:
    torch.manual_seed(0)
    masked = build_dit(64, 2, 2, in_channels=CHANNELS, text_dim=TEXT_DIM, init="torch", mask_padding=True).to(CUDA)
    latents, prompt_embeds, timestep = inputs(CUDA)
    prompt_embeds[:, 3:] = 0
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
        padded, trimmed = (masked(latents, part, timestep).float() for part in (prompt_embeds, prompt_embeds[:, :3]))
    assert float((padded - trimmed).norm() / trimmed.norm()) < 0.02


@pytest.mark.parametrize("place", ["cpu", GPU])
def test_the_vae_gives_the_same_channels_last(place: str) -> None:
    """TAEF2's layers keep their memory channels last on the device; what they compute is within 1e-3 of plain."""
    from aaa.encoders.flux2_tiny import make_encoder

    torch.manual_seed(0)
    plain = make_encoder().eval()
    last = deepcopy(plain).to(place).to(memory_format=torch.channels_last)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        found = last(images.to(place, memory_format=torch.channels_last)).cpu()
        expected = plain(images)
    assert float((found - expected).norm() / expected.norm()) < 1e-3
