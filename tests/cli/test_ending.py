"""How a command ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from aaa.cli.ending import is_command


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("python -m aaa.train seed=1", True),
        ("python -X importtime -u -m aaa.train", True),
        ("python /venv/bin/aaa-train -m seed=0,1", True),
        ("python -m cProfile -o file -m aaa.train", False),
        ("python -m pdb -m aaa.train", False),
        ("python script.py -m aaa.train", False),
        ("python -c import\\ aaa", False),
        ("python -m aaaa.train", False),
        ("python -m", False),
        ("python", False),
    ],
)
def test_only_a_command_that_the_interpreter_was_started_for_ends_at_once(line: str, command: bool) -> None:
    assert is_command(line.split(" ")) is command


# At the start of every interpreter: what is left undone at the end tells how it came.
AT_START = """
import atexit, pathlib, sys, threading, time

class Put:
    def __del__(self, write=pathlib.Path.write_text, path=pathlib.Path("put away")):
        write(path, "")

def late():
    time.sleep(1)
    pathlib.Path("thread").touch()

if "aaa.plan" in sys.orig_argv:
    sys.modules["put"] = Put()
    atexit.register(pathlib.Path("registered").touch)
    threading.Thread(target=late).start()
"""


@pytest.mark.parametrize(
    ("by", "left"),
    [
        ((), {"thread", "registered"}),
        pytest.param(("cProfile", "-o", "profile", "-m"), None, marks=pytest.mark.slow),
    ],
)
def test_a_command_does_what_is_to_be_done_at_its_end_but_takes_nothing_apart(
    by: tuple[str, ...], left: set[str] | None, tmp_path: Path
) -> None:
    (tmp_path / "at_start").mkdir()
    (tmp_path / "at_start" / "sitecustomize.py").write_text(AT_START)
    environment = {"PYTHONPATH": f"{tmp_path / 'at_start'}:{Path(__file__).parents[2]}"}
    command = [sys.executable, "-m", *by, "aaa.plan"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "1 run planned" in done.stdout
    found = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert found == ({"thread", "registered", "put away", "profile"} if left is None else left)


@pytest.mark.parametrize(
    ("start", "ending"),
    [(["-m", "aaa.train"], (130, "Interrupted.\n")), (["-c", "import aaa.cli"], (-2, "KeyboardInterrupt\n"))],
)
def test_a_command_that_is_interrupted_while_python_imports_it_says_so(
    tmp_path: Path, start: list[str], ending: tuple[int, str]
) -> None:
    (tmp_path / "hydra.py").write_text("raise KeyboardInterrupt\n")
    environment = {"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"}
    done = subprocess.run([sys.executable, *start], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr if start[0] == "-m" else done.stderr.splitlines(keepends=True)[-1]) == ending
