"""Folders, names and captions of any letters, from the pictures to the commands that a run prints at its end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from aaa.config.commands import train_command
from tests.e2e.conftest import SMALL, fork_in, metrics

FORKED = True
NAME = "my run (v2), ünï=b [red]$x"
CAPTIONS = ["a $5 bill, `touch PWNED`", '$(touch PWNED) "it\'s" !', '"Hello"']


def words_of(line: str, folder: Path) -> list[str]:
    """What a shell makes of a printed command: the arguments of its module."""
    script = f"python() {{ {sys.executable} -c 'import json, sys; print(json.dumps(sys.argv[2:]))' \"$@\"; }}\n{line}"
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout))


def test_what_a_run_prints_can_be_pasted(tmp_path: Path) -> None:
    here = tmp_path / "it's here; 100% $y"
    pictures = here / "pics (1) #图"
    pictures.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(6):
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(pictures / f"{number}.png")
        (pictures / f"{number}.txt").write_text(CAPTIONS[number % len(CAPTIONS)])
    small = [argument for argument in SMALL if not argument.startswith(("data.source", "evaluation."))]
    done = fork_in(
        here,
        "aaa.train",
        f"name={NAME}",
        "logger=none",
        "data=imagefolder",
        f"data.root={pictures}",
        "data.attribution=By A, B & [C]",
        *small,
        "trainer.batch_size=4",
        "trainer.max_steps=2",
    )
    assert done.code == 0, done.err
    printed = dict(line.strip().split(":", 1) for line in done.err.splitlines() if line.startswith("  "))
    sampled = words_of(printed["sample"], here)
    assert any(f"prompt={caption}" in sampled or f"prompt='{caption}'" in sampled for caption in CAPTIONS)
    drawn = fork_in(here, *sampled, "steps=1", "num_images=1", "out=~/drawn", HOME=os.fspath(here))
    assert drawn.code == 0, drawn.err
    assert (here / "drawn" / "grid.png").is_file()
    (run,) = here.glob("outputs/*/*")
    assert run.parent.name == NAME
    longer = fork_in(here, *words_of(printed["longer"], here))
    assert longer.code == 0, longer.err
    assert max(metrics(other)[-1]["step"] for other in here.glob("outputs/*/*")) == 4
    resumed = fork_in(here, *words_of(train_command("trainer.max_steps=5", resume=run.relative_to(here)), here))
    assert resumed.code == 0, resumed.err
    assert metrics(run)[-1]["step"] == 5
    compared = fork_in(here, *words_of(printed["compare"], here))
    assert compared.code == 0, compared.err
    assert run.name in compared.out
    assert not list(tmp_path.rglob("PWNED"))
