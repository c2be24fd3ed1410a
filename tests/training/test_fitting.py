import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from aaa.errors import UserError
from aaa.models.factory import build_dit
from aaa.training import fitting, memory
from aaa.training.fitting import GIB, Footprint, largest_batch, measure_footprint, require_fit

CPU = torch.device("cpu")
# 1 GiB whatever the batch, and 100 MiB a sample with its slack.
FOOTPRINT = Footprint(fixed=GIB, per_sample=round(100 * 2**20 / fitting.SLACK))


@pytest.fixture
def three_gib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "available_memory", lambda _: 3 * GIB)


def test_what_a_sample_keeps_is_counted_once_without_the_weights() -> None:
    model = nn.Sequential(nn.Linear(1000, 1000, bias=False), nn.ReLU())

    def forward(samples: int) -> Tensor:
        inputs = torch.ones(samples, 1000)  # kept for the gradient of the weights
        outputs: Tensor = model(inputs)  # kept by ReLU and by square, one storage
        return outputs.square().sum()

    footprint = measure_footprint(forward, model, CPU)
    assert footprint.per_sample == 2 * 4 * 1000
    assert footprint.fixed - memory.held_memory(CPU) == pytest.approx(3 * 4 * 1000**2, abs=2**25)


def test_nothing_is_left_of_what_was_measured() -> None:
    """Neither activations nor autograd's nodes of the weights, which remember the stream that they were made on."""
    model = nn.Sequential(nn.Linear(10, 10), nn.Tanh(), nn.Linear(10, 10))
    made: list[weakref.ref[Tensor]] = []

    def forward(samples: int) -> Tensor:
        hidden = model[1](model[0](torch.ones(samples, 10)))
        made.append(weakref.ref(hidden))
        outputs: Tensor = model[2](hidden).sum()
        return outputs

    measure_footprint(forward, model, CPU)
    assert len(made) == 3
    assert not [tensor for tensor in made if tensor() is not None]


def test_a_bigger_model_and_more_tokens_keep_more() -> None:
    def kept(depth: int, side: int) -> int:
        model = build_dit(dim=32, depth=depth, heads=2, in_channels=4, text_dim=8)

        def forward(samples: int) -> Tensor:
            latents = torch.zeros(samples, 4, side, side)
            velocity: Tensor = model(latents, torch.zeros(samples, 3, 8), torch.zeros(samples))
            return velocity.sum()

        return measure_footprint(forward, model, CPU).per_sample

    small = kept(2, 4)
    assert 1.8 * small < kept(4, 4) < 2 * small
    assert kept(2, 8) > 3 * small


@pytest.mark.parametrize(
    ("processes", "accumulation", "most", "expected"),
    [(1, 1, 10**6, 8), (2, 1, 10**6, 16), (1, 4, 10**6, 32), (1, 1, 5, 4), (1, 1, 1, 1)],
)
def test_auto_is_the_largest_power_of_two_that_leaves_some_room(
    three_gib: None, processes: int, accumulation: int, most: int, expected: int
) -> None:
    assert largest_batch(FOOTPRINT, processes, accumulation, most, CPU) == expected


def test_auto_stops_where_more_is_of_no_use(three_gib: None) -> None:
    assert largest_batch(Footprint(GIB, 10), 1, 1, 10**6, CPU) == 1024


def test_a_batch_that_fits_is_taken(three_gib: None) -> None:
    require_fit(FOOTPRINT, 20, 1, 1, CPU)
    require_fit(FOOTPRINT, 160, 2, 4, CPU)


@pytest.mark.parametrize(
    ("batch_size", "accumulation", "advice"),
    [
        (100, 1, "trainer.batch_size=8. .*trainer.gradient_accumulation_steps=20"),
        (96, 2, "trainer.batch_size=16. .*trainer.gradient_accumulation_steps=12"),
    ],
)
def test_a_batch_too_large_is_refused_with_what_fits(
    three_gib: None, batch_size: int, accumulation: int, advice: str
) -> None:
    with pytest.raises(UserError, match=rf"trainer.batch_size={batch_size} does not fit: .* GiB, and cpu has 3.0. The"):
        require_fit(FOOTPRINT, batch_size, 1, accumulation, CPU)
    with pytest.raises(UserError, match=advice):
        require_fit(FOOTPRINT, batch_size, 1, accumulation, CPU)


def test_a_model_of_which_no_sample_fits_is_refused(three_gib: None) -> None:
    with pytest.raises(UserError, match="Not even one sample fits"):
        largest_batch(Footprint(4 * GIB, 10), 1, 1, 100, CPU)


@pytest.mark.parametrize("place", ["", "system.slice/slurmd/job_1", "system.slice/slurmd/job_1/step_0"])
def test_the_limit_of_a_container_or_of_a_job_counts(tmp_path: Path, place: str) -> None:
    own, limited = tmp_path / "own", tmp_path / "cgroup" / place
    own.write_text("1:memory:/elsewhere\n0::/system.slice/slurmd/job_1/step_0\n")
    limited.mkdir(parents=True)
    assert memory._free_in_groups(tmp_path / "cgroup", own) > 2**60
    (limited / "memory.max").write_text("1000\n")
    (limited / "memory.current").write_text("700\n")
    (limited / "memory.stat").write_text("anon 500\nfile 200\n")
    assert memory._free_in_groups(tmp_path / "cgroup", own) == 500
    (limited / "memory.max").write_text("max\n")
    assert memory._free_in_groups(tmp_path / "cgroup", own) > 2**60


@pytest.mark.parametrize("told", ["0::/\n", "0::/../../other\n", "4:memory:/x\n", None])
def test_the_limit_at_the_root_counts_whatever_a_process_is_in(tmp_path: Path, told: str | None) -> None:
    if told is not None:
        (tmp_path / "own").write_text(told)
    for name, content in (("max", "1000"), ("current", "700"), ("stat", "file 0")):
        (tmp_path / f"memory.{name}").write_text(content)
    assert memory._free_in_groups(tmp_path, tmp_path / "own") == 300


def test_no_more_samples_are_tried_than_a_batch_is_to_have() -> None:
    model, tried = nn.Linear(10, 10), list[int]()

    def forward(samples: int) -> Tensor:
        tried.append(samples)
        return model(torch.ones(samples, 10)).tanh().sum()

    of_each = [measure_footprint(forward, model, CPU, most).per_sample for most in (1, 3, 100)]
    assert tried == [1, 1, 2, 1, 2, 4]
    assert of_each[0] >= of_each[1] == of_each[2] == 40 + 40


def test_the_copy_of_gradients_that_processes_exchange_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "held_memory", lambda _: 0)
    model = nn.Linear(10, 10, bias=False)

    def forward(samples: int) -> Tensor:
        return model(torch.ones(samples, 10)).sum()

    alone, together = (measure_footprint(forward, model, CPU, in_buckets=many).fixed for many in (False, True))
    assert together - alone == 10 * 10 * 4


def test_a_gpu_without_room_for_a_sample_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(samples: int) -> Tensor:
        raise torch.OutOfMemoryError(str(samples))

    with pytest.raises(UserError, match=r"no room for 1 sample of this model: trainer\.gradient_checkpointing=true"):
        measure_footprint(forward, nn.Linear(1, 1), CPU)


def test_processes_share_the_memory_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=8 * GIB))
    monkeypatch.setattr(memory, "_free_in_groups", lambda *_: 9 * GIB)
    monkeypatch.setattr(memory, "held_memory", lambda _: GIB)
    assert memory.available_memory(CPU) == 8 * GIB + GIB
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert memory.available_memory(CPU) == 2 * GIB + GIB
