"""A few training steps on several processes, each with the whole model or with its rows of the weights.

`python -m tests.helpers.divided_training PROCESSES OUT STEPS`: forks so many processes once torch is imported, trains
in each way, and the first writes what came out as JSON.
"""

import json
import multiprocessing
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from aaa.models.factory import build_dit
from aaa.saved.checkpoint_folders import OPTIMIZER, SHARDS
from aaa.saved.shards import Divided, finish_writing, start_writing_shards, write_shards
from aaa.training import orthogonal
from aaa.training.ema import EMA, decaying
from aaa.training.norms import as_numbers, clip_gradients, norms_by_part
from aaa.training.optimizers import MuonWithAdamW, adamw, state_to_come
from aaa.training.sharding import (
    WholeCopies,
    divided_copy,
    is_sharded,
    local,
    local_bytes,
    make_mesh,
    shard,
    without_weights,
)

# Of 30 rows, which four processes cannot share evenly.
NUMBERS: dict[str, Any] = {"dim": 36, "depth": 2, "heads": 3, "in_channels": 6, "text_dim": 10, "text_refiner": 1}
DESIGN: dict[str, Any] = {"qk_norm": True, "mlp": "swiglu", "modulation": "adaln", "registers": 3}


def make_optimizer(name: str, model: nn.Module) -> Optimizer:
    if name == "adamw":
        return adamw(model.named_parameters(), 3e-3, 0.01, (0.9, 0.99))
    both = MuonWithAdamW(model.named_parameters(), 3e-3, 0.01, 0.95, (0.9, 0.99), fused="parts")
    both.know_fused_matrices({"blocks.0.to_gate.weight": 6})
    return both


def batch(step: int, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    draws = torch.Generator().manual_seed(1000 * step + rank)
    latents, words = torch.randn(3, 6, 4, 4, generator=draws), torch.randn(3, 5, 10, generator=draws)
    return latents, words, 1000 * torch.rand(3, generator=draws)


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return build_dit(**NUMBERS, **DESIGN, init="torch")


def train(parallel: str, optimizer_name: str, steps: int, shard_processes: int, folder: Path) -> dict[str, Any]:
    """Losses, norms, and the weights and their average after the last step, as every process has them.

    What a checkpoint would hold of them is written to the folder.
    """
    model = make_model()
    hollow = without_weights(model)
    processes, rank = dist.get_world_size(), dist.get_rank()
    mesh = make_mesh(parallel, "cpu", processes, shard_processes)
    trained: nn.Module = model
    if mesh is None:
        ema = EMA(model, decaying(0.9))
        trained = DistributedDataParallel(model)
    else:
        ema = EMA(hollow, decaying(0.9))
        shard(model, mesh, torch.float32)
        divided_copy(ema.module, model)
    optimizer = make_optimizer(optimizer_name, model)
    foretold = state_to_come(optimizer, of=local)
    losses, grad_norms, parts = [], [], []
    for step in range(steps):
        latents, words, timestep = batch(step, rank)
        loss = (trained(latents, words, timestep) - latents).square().mean()
        loss.backward()
        parts.append(as_numbers(norms_by_part(model)))
        most = 100.0 if step % 2 else 0.5  # which leaves gradients of every other step as they are
        grad_norms.append(clip_gradients(list(model.parameters()), most).item())
        optimizer.step()
        optimizer.zero_grad()
        ema.update_parameters(model)
        mean = loss.detach().clone()
        dist.all_reduce(mean)
        losses.append(mean.item() / processes)
    save(folder, model, ema, optimizer)
    parts_of = optimizer.optimizers if isinstance(optimizer, MuonWithAdamW) else [optimizer]
    state = [v for part in parts_of for of_one in part.state.values() for v in of_one.values()]
    assert foretold == local_bytes([v for v in state if v.ndim])  # the others count steps
    held = torch.tensor(local_bytes([*model.parameters(), *ema.module.parameters(), *state]))
    dist.all_reduce(held, dist.ReduceOp.MAX)
    copies = WholeCopies({"raw": hollow, "ema": without_weights(hollow)})
    copies.gather({"raw": model, "ema": ema.module})
    weights = {name: [p.tolist() for p in copied.parameters()] for name, copied in copies.models.items()}
    return {"losses": losses, "grad_norms": grad_norms, "parts": parts, "held": held.item(), **weights}


def save(folder: Path, model: nn.Module, ema: EMA, optimizer: Optimizer) -> None:
    """Shards as a checkpoint has them where weights are divided, and the optimizer's own file."""
    if dist.get_rank() == 0:
        folder.mkdir(parents=True)
    dist.barrier()
    state = optimizer.state_dict()
    if is_sharded(model):
        divided = Divided.of(model.state_dict(), ema.module.state_dict(), state)
        if isinstance(optimizer, MuonWithAdamW):
            write_beside_training(folder / SHARDS, divided)
        else:
            write_shards(folder / SHARDS, divided)
        state = divided.optimizer
    if dist.get_rank() == 0:
        torch.save(state, folder / OPTIMIZER)


def write_beside_training(folder: Path, divided: Divided) -> None:
    """Training goes on with the tensors while they are written."""
    writing = start_writing_shards(folder, divided, dist.distributed_c10d._get_default_group())
    tensors = [local(tensor) for tensor in divided.tensors.values()]
    torch._foreach_mul_(tensors, 2.0)
    finish_writing(writing)
    torch._foreach_mul_(tensors, 0.5)


def run_rank(rank: int, processes: int, store: str, out: Path, steps: int) -> None:
    torch.set_num_threads(1)
    # In bf16 products of one matrix and of stacks of them are rounded otherwise, which has nothing to do with rows.
    orthogonal.multiplies_bf16 = lambda _device: False  # type: ignore[assignment]
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=processes)
    ways = ["ddp", "fsdp", *(["hsdp"] if processes == 4 else [])]
    each = [(way, name) for name in ("adamw", "muon") for way in ways]
    results = {f"{way} {name}": train(way, name, steps, 2, out.parent / f"{way} {name}") for way, name in each}
    if rank == 0:
        out.write_text(json.dumps(results))
    dist.destroy_process_group()


def main() -> None:
    processes, out, steps = int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    forked = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        started = [
            forked.Process(target=run_rank, args=(rank, processes, f"{folder}/store", out, steps))
            for rank in range(processes)
        ]
        for process in started:
            process.start()
        for process in started:
            process.join()
    sys.exit(max(abs(process.exitcode or 0) for process in started))


if __name__ == "__main__":
    main()
