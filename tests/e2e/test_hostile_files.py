"""Every input of the corpus: one clear error or none, no traceback, no hang, no 2 GB, nothing outside the folder."""

import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

from tests.e2e.conftest import Finished
from tests.helpers.forked import start
from tests.helpers.hostile_files import CORPUS, Hostile, noise_picture

SECONDS = 60
FEW = 4
MOST_GIB = 2.0
MAY_WRITE = ("run", "outputs", ".cache", "drawn", ".out-", ".err-", "curves.png", "compare.html")


def test_the_corpus_is_large_and_of_many_kinds() -> None:
    kinds = Counter(hostile.kind for hostile in CORPUS)
    print(len(CORPUS), dict(kinds))
    assert len(CORPUS) >= 100
    assert len(kinds) == 8
    assert min(kinds.values()) >= 8
    assert len({(hostile.kind, hostile.name) for hostile in CORPUS}) == len(CORPUS)


def some_and_slow_ones() -> Iterator[ParameterSet]:
    """The corpus: of each kind the first few, and the rest, which takes minutes, as slow ones."""
    seen: Counter[str] = Counter()
    for hostile in CORPUS:
        seen[hostile.kind] += 1
        marks = [pytest.mark.slow] if seen[hostile.kind] > FEW else []
        yield pytest.param(hostile, id=f"{hostile.kind}: {hostile.name}", marks=marks)


@pytest.mark.parametrize("hostile", some_and_slow_ones())
def test_a_hostile_input_does_no_harm(tmp_path: Path, small_run: tuple[Path, Finished], hostile: Hostile) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    noise_picture().save(tmp_path / "victim.png")
    if hostile.kind in ("weights", "configs", "runs", "caches"):
        shutil.copytree(small_run[0], folder / "run", symlinks=True)
        shutil.copytree(small_run[0].parents[2] / ".cache", folder / ".cache")
        for other in (folder / ".cache/aaa").glob("*"):
            if other.is_dir() and not other.name.startswith("shapes-patches-16-"):
                shutil.rmtree(other)
    hostile.make(folder)
    before = listing(tmp_path)

    command = start(folder, *hostile.arguments, environment={"WANDB_MODE": "disabled"})
    code = command.wait(SECONDS)
    err = command.err.read_text(errors="replace")

    assert "Traceback" not in err, err[-3000:]
    if hostile.says is None:
        assert code == 0, err[-3000:]
        assert "error: " not in err
    else:
        assert code == 1, err[-3000:]
        assert err.count("error: ") == 1, err[-3000:]
        message = err[err.index("error: ") :]
        assert re.search(hostile.says, message), message[-3000:]
        assert len(message) < 3000
    assert float((folder / "peak_gib").read_text()) < MOST_GIB
    new = {path for path in listing(tmp_path) if path not in before}
    assert [path for path in new if not str(path.relative_to("here")).startswith((*MAY_WRITE, "peak_gib"))] == []
    assert not list(tmp_path.rglob("PWNED"))


def listing(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*")}
