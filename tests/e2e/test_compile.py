"""torch.compile: the same run, faster; and where it does not work, the run as it was."""

import shutil
from pathlib import Path

import pytest

from tests.e2e.conftest import SMALL, Command, losses, only_run

SHORT = [*SMALL, "logger=none", "trainer.max_steps=4"]


@pytest.mark.slow
def test_a_machine_that_cannot_compile_is_warned_once_and_trains(command: Command, tmp_path: Path) -> None:
    # CXX is where torch looks for a compiler; its caches must not hand out what an earlier run has compiled.
    broken = {"CXX": "no-such-compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    done = command("aaa.train", *SHORT, "trainer.compile=true", **broken)
    assert done.code == 0, done.err
    assert done.err.count("torch.compile does not work on this machine") == 1
    assert list(losses(only_run(tmp_path))) == [1, 2, 3, 4]


def test_cuda_graphs_are_refused_where_there_is_no_gpu(command: Command) -> None:
    done = command("aaa.train", *SHORT, "trainer.device=cpu", "trainer.compile=reduce-overhead")
    assert "trainer.compile=reduce-overhead: records CUDA graphs, and trainer.device is cpu" in done.error


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_compiled_run_takes_the_same_steps(command: Command, tmp_path: Path) -> None:
    for name, compiled in (("plain", "false"), ("compiled", "true"), ("static", "static")):
        done = command("aaa.train", *SHORT, f"name={name}", f"trainer.compile={compiled}", "trainer.precision=float32")
        assert done.code == 0, done.err
        assert "does not work" not in done.err
    plain, *compiled_losses = (
        losses(next((tmp_path / "outputs" / name).iterdir())) for name in ("plain", "compiled", "static")
    )
    assert compiled_losses == [pytest.approx(plain, rel=1e-3)] * 2
    resumed = command(
        "aaa.train", f"resume={next((tmp_path / 'outputs' / 'compiled').iterdir())}", "trainer.max_steps=5"
    )
    assert resumed.code == 0, resumed.err
