"""What each thing done for speed is worth: the same work without it and with it, side by side in one process."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.optim import AdamW, Muon
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from aaa.assembly.parts import model_numbers
from aaa.benchmarks.counts import Count
from aaa.benchmarks.report import Report
from aaa.benchmarks.subject import Subject, make_subject
from aaa.data import cache_writer
from aaa.data.cache_writer import CacheWriter
from aaa.data.cached_records import CachedRecord
from aaa.models import qk_norm, rope
from aaa.models.attention import attend, has_few_scores, plain_products
from aaa.models.block import DiTBlock
from aaa.models.dit import AAADiT
from aaa.models.factory import build_dit
from aaa.models.parameters import fused_matrices, matrices
from aaa.models.rms_norm import RMSNorm
from aaa.models.token_rows import has_narrow_heads
from aaa.training.ema import EMA, decaying
from aaa.training.memory import keep_freed_memory
from aaa.training.muon import BatchedMuon
from aaa.training.optimizers import adamw
from aaa.training.parameter_groups import decay_only, regroup
from aaa.training.timing import seconds

Action = Callable[[], object]
SWITCHES: tuple[dict[str, Any], ...] = (
    {"positions": "rope"},
    {"text_positions": "rope"},
    {"qk_norm": True},
    {"mlp": "swiglu"},
    {"positions": "rope", "qk_norm": True, "mlp": "swiglu"},
    {"mlp": "relu2"},
    {"modulation": "adaln"},
    {"modulation": "adaln_shared"},
    {"value_residual": True},
    {"text_refiner": 2},
    {"registers": 4},
    {"joint": "mmdit"},
    {"joint": "cross"},
    {"pooled_prompt": True},
)

MUON: dict[str, Any] = {"lr": 1e-9, "weight_decay": 0.0, "momentum": 0.95}


@dataclass(frozen=True)
class Way:
    """Two routines that do the same.

    Attributes:
        name: what the second does that the first does not.
        without: the first.
        used: the second.
    """

    name: str
    without: Action
    used: Action


class Ways:
    """Measures each way with the config's model, batch and precision.

    Args:
        repeats: of each; the two of a way take turns, where the second can be undone.
        prompt_tokens: to which prompts are trimmed in the way of that name.
    """

    def __init__(self, repeats: Count, prompt_tokens: Count) -> None:
        self.repeats, self.prompt_tokens = repeats, prompt_tokens

    def run(self, config: DictConfig, device: str) -> Report:
        """Measure."""
        rows = [way_row(way, torch.device(device), self.repeats) for way in _of_parts(config, torch.device(device))]
        rows += self._of_whole_steps(config, device)
        return Report(f"{config.model.name}, batches of {config.trainer.batch_size}", rows, ("way", "gain"))

    def _beside(self, name: str, plain: Subject, other: Subject, batch_size: int) -> dict[str, Any]:
        """Whole steps of two subjects that take turns, so that what else the machine does slows both down alike."""
        numbers = count()
        way = Way(name, *(lambda of=of: of.bare_step(batch_size, next(numbers)) for of in (plain, other)))
        row = way_row(way, plain.accelerator.device, self.repeats)
        other.accelerator.free_memory()
        plain.close()  # of both: accelerate keeps one state for the whole process
        return row

    def _of_whole_steps(self, config: DictConfig, device: str) -> list[dict[str, Any]]:
        batch_size = config.trainer.batch_size
        make = partial(make_subject, device=device, precision=config.trainer.precision, compiled=False, tuned=False)
        numbers = count()
        subject = make(config)
        place = subject.accelerator.device

        def whole() -> Tensor:
            return subject.bare_step(batch_size, next(numbers))

        def deterministic() -> None:
            torch.use_deterministic_algorithms(True)
            whole()
            torch.use_deterministic_algorithms(False)

        rows = [way_row(Way("losses stay on the device", lambda: whole().item(), whole), place, self.repeats)]
        if device == "cpu":
            rows.append(self._with_freed_memory_kept(whole, place))
        rows.append(way_row(Way("trainer.deterministic=true, which costs", whole, deterministic), place, self.repeats))
        subject.close()
        for name, changed in [*_with_a_term(config), *_with_a_switch(config)]:
            rows.append(self._beside(f"{name}, which costs", make(config), make(changed), batch_size))
        if self.prompt_tokens < config.encoder.max_prompt_tokens:
            name = f"prompts of {self.prompt_tokens} tokens instead of {config.encoder.max_prompt_tokens}"
            rows.append(self._beside(name, make(config), make(config, prompt_tokens=self.prompt_tokens), batch_size))
        return rows

    def _with_freed_memory_kept(self, step: Action, place: torch.device) -> dict[str, Any]:
        """Which is kept from then on, so that its two cannot take turns."""

        def step_seconds() -> float:
            return median(seconds(step, place) for _ in range(self.repeats))

        without = step_seconds()
        keep_freed_memory()
        step()
        return _as_row("memory that tensors free is kept", without, step_seconds())


def _with_a_term(config: DictConfig) -> Iterator[tuple[str, DictConfig]]:
    """The config with each term of the loss that is off and can be on, by the term's name."""
    for name, term in (config.objective.get("terms") or {}).items():
        if term is not None and not term.weight and term.get("after_block", 1) <= config.model.depth:
            changed = config.copy()
            changed.objective.terms[name].weight = 0.1
            yield f"objective.terms.{name}", changed


def _with_a_switch(config: DictConfig) -> Iterator[tuple[str, DictConfig]]:
    """The config with each switch of the architecture that is not set, where its model can have them all."""
    model = config.model
    own = model.block is not None or model.architecture is not None
    if own or model.depth == 1 or model.dim // model.heads % 4:
        return
    for switches in SWITCHES:
        if all(model[key] != value for key, value in switches.items()):
            changed = config.copy()
            changed.model = OmegaConf.merge(model, switches)
            yield " ".join(f"model.{key}={str(value).lower()}" for key, value in switches.items()), changed


def way_row(way: Way, device: torch.device, repeats: int) -> dict[str, Any]:
    """Milliseconds of both routines, medians of so many times that they take turns."""
    for action in (way.without, way.used):
        action()
    times = [(seconds(way.without, device), seconds(way.used, device)) for _ in range(repeats)]
    return _as_row(way.name, *(median(column) for column in zip(*times, strict=True)))


def _as_row(name: str, without: float, used: float) -> dict[str, Any]:
    return {"way": name, "without ms": 1000 * without, "with ms": 1000 * used, "gain": without / used}


def _of_parts(config: DictConfig, device: torch.device) -> Iterator[Way]:
    model = build_dit(**model_numbers(config)).to(device)
    yield from _attention(config, device)
    if isinstance(model.blocks[-1], DiTBlock):
        yield _one_product(model.blocks[-1], config, device)
    yield _rms_norm(config, device)
    yield from _rows_of_tokens(config, device)
    yield _gates(model, config, device)
    yield from optimizer_ways(model)
    yield _writing()


def optimizer_ways(model: nn.Module) -> Iterator[Way]:
    """What is done for the speed of optimizers and of the average of the weights; gives the model gradients."""
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    yield _muon(model)
    yield _orthogonalisation(model)
    yield _fused_matrices(model)
    yield _adamw(model)
    yield _decay(model)
    yield _ema(model)


def _tokens(config: DictConfig) -> int:
    side: int = config.data.resolution // config.encoder.downscale_factor
    return side**2 + int(config.encoder.max_prompt_tokens)


def _attention(config: DictConfig, device: torch.device) -> Iterator[Way]:
    """Forward and backward of attention in bf16; on a CPU, what of it is owed to how softmax is taken."""
    heads, dim = config.model.heads, config.model.dim
    shape = (config.trainer.batch_size, heads, _tokens(config), dim // heads)
    q, k, v = (torch.randn(shape, device=device, dtype=torch.bfloat16, requires_grad=True) for _ in range(3))

    def both(routine: Callable[..., Tensor]) -> None:
        routine(q, k, v).sum().backward()

    yield Way("attention in blocks", partial(both, F.scaled_dot_product_attention), partial(both, attend))
    if device.type == "cpu" and has_few_scores(q, k):
        with_torchs = partial(plain_products, softmax=partial(torch.softmax, dim=-1))
        yield Way("plain products of our own", partial(both, with_torchs), partial(both, attend))


def _one_product(block: DiTBlock, config: DictConfig, device: torch.device) -> Way:
    """Projections to q, k and v under bf16 autocast, forward and backward."""
    x = torch.randn(config.trainer.batch_size, _tokens(config), config.model.dim, device=device, requires_grad=True)

    def separately() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            projected = [layer(x) for layer in (block.to_q, block.to_k, block.to_v)]
        sum(out.sum() for out in projected).backward()

    def together() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            projected = block.project(x)
        projected.sum().backward()

    return Way("q, k and v in one product", separately, together)


def _rms_norm(config: DictConfig, device: torch.device) -> Way:
    """Of all tokens in float32, forward and backward."""
    dim = config.model.dim
    x = torch.randn(config.trainer.batch_size, _tokens(config), dim, device=device, requires_grad=True)

    def both(norm: nn.Module) -> None:
        norm(x).sum().backward()

    torchs = nn.RMSNorm(dim, elementwise_affine=False)
    return Way("RMSNorm written out", partial(both, torchs), partial(both, RMSNorm(dim)))


def _rows_of_tokens(config: DictConfig, device: torch.device) -> Iterator[Way]:
    """Queries and keys turned and normalised in bf16, forward and backward, where heads are narrow enough."""
    heads, tokens = config.model.heads, _tokens(config)
    head_dim = config.model.dim // heads
    shape = (config.trainer.batch_size, tokens, 2, heads, head_dim)
    made = torch.randn(shape, device=device, dtype=torch.bfloat16).permute(2, 0, 3, 1, 4)
    x = made.detach().requires_grad_()  # as a projection lays it out
    if head_dim % 4 or not has_narrow_heads(x):
        return

    def both(routine: Callable[..., Tensor], *arguments: Tensor) -> None:
        routine(x, *arguments).sum().backward()

    cos, sin = rope.unturned(tokens, head_dim, device).bfloat16()
    scale = torch.ones(2, 1, 1, 1, head_dim, device=device, dtype=torch.bfloat16, requires_grad=True)
    for name, by_heads, by_rows, arguments in (
        ("rotations of whole rows", rope._Rotate, rope._RotateRows, (cos, sin)),
        ("q and k normalised in whole rows", qk_norm._Normalise, qk_norm._NormaliseRows, (scale,)),
    ):
        yield Way(name, partial(both, by_heads.apply, *arguments), partial(both, by_rows.apply, *arguments))


def _gates(model: AAADiT, config: DictConfig, device: torch.device) -> Way:
    """Gates of all blocks under bf16 autocast, forward and backward. Not done: see experiments/speed.md."""
    layers = [block.to_gate for block in model.blocks if isinstance(block, DiTBlock)]
    timestep_emb = torch.randn(config.trainer.batch_size, config.model.dim, device=device)

    def one_by_one() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            gates = [layer(timestep_emb) for layer in layers]
        sum(gate.sum() for gate in gates).backward()

    def at_once() -> None:
        weight, bias = (torch.cat([getattr(layer, name) for layer in layers]) for name in ("weight", "bias"))
        with torch.autocast(device.type, torch.bfloat16):
            gates = F.linear(timestep_emb, weight, bias)
        gates.sum().backward()

    return Way("gates of all blocks in one product (not used)", one_by_one, at_once)


def _muon(model: nn.Module) -> Way:
    weights = list(_orthogonal_weights(model).values())
    return Way("Muon: matrices of one shape together", Muon(weights, **MUON).step, BatchedMuon(weights, **MUON).step)


def _orthogonalisation(model: nn.Module) -> Way:
    weights = list(_orthogonal_weights(model).values())
    jordan, minimax = (BatchedMuon(weights, kind, **MUON) for kind in ("jordan", "minimax"))
    return Way("optimizer.orthogonalisation=minimax, which changes the steps", jordan.step, minimax.step)


def _fused_matrices(model: nn.Module) -> Way:
    """Steps of Muon with all of AdamW's left out."""
    weights = _orthogonal_weights(model)
    whole, parts = (BatchedMuon(list(weights.values()), **MUON) for _ in range(2))
    parts.stacked = {weights[name]: number for name, number in fused_matrices(model).items() if name in weights}
    return Way("optimizer.fused=parts, which changes the steps", whole.step, parts.step)


def _orthogonal_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in model.named_parameters() if "blocks." in name and weight.ndim == 2}


def _adamw(model: nn.Module) -> Way:
    plain = AdamW(model.parameters(), lr=1e-9)
    fused = adamw(model.named_parameters(), learning_rate=1e-9, weight_decay=0.01, betas=(0.9, 0.999))
    return Way("AdamW in one kernel", plain.step, fused.step)


def _decay(model: nn.Module) -> Way:
    everything, only_matrices = (
        adamw(model.named_parameters(), learning_rate=1e-9, weight_decay=0.01, betas=(0.9, 0.999)) for _ in range(2)
    )
    regroup(only_matrices, model.named_parameters(), decay_only(matrices(model)))
    return Way("optimizer.decayed=matrices, which changes the steps", everything.step, only_matrices.step)


def _ema(model: nn.Module) -> Way:
    plain, ours = AveragedModel(model, avg_fn=get_ema_avg_fn(0.999)), EMA(model, decaying(0.999))
    return Way(
        "EMA: all weights in one call", partial(plain.update_parameters, model), partial(ours.update_parameters, model)
    )


def _writing() -> Way:
    """Three shards of a cache, with as much to compute for each as it takes to write one."""
    matrix = torch.randn(1024, 1024)
    latents = torch.randn(64, 2**18 // 64, 8, 8)

    def write(*, waiting: bool) -> None:
        with tempfile.TemporaryDirectory() as folder:
            writer = CacheWriter(Path(folder), torch.float32, "bench")
            writer.write_empty_prompt(torch.zeros(1, 1, 1), tokens=0)
            records = [CachedRecord("key", ["prompt"], None) for _ in latents]
            for _ in range(3 * cache_writer.SHARD_BYTES // latents.nbytes):
                for _ in range(20):
                    torch.mm(matrix, matrix)
                writer.write(records, latents, torch.zeros(64, 1, 1), [1] * 64, [bytes(16)] * 64)
                if waiting:
                    writer.wait()
            writer.close()

    return Way("a cache's shards written by a thread", partial(write, waiting=True), partial(write, waiting=False))
