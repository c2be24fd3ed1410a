"""What the documentation shows is what there is."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aaa.config.reference import COMMANDS, SECTIONS, descriptions, reference
from tests.helpers.documented import ROOT, anchors

PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("experiments/**/*.md"))]


def test_the_config_reference_is_made_from_the_schema() -> None:
    written = (ROOT / "docs" / "config.md").read_text()
    assert written == reference(), "python -m aaa.config.reference > docs/config.md"


@pytest.mark.parametrize("schema", [*SECTIONS.values(), *COMMANDS.values()])
def test_every_key_is_described(schema: type) -> None:
    own = set(schema.__annotations__)
    assert descriptions(schema).keys() <= own
    # Groups are described where their own keys are.
    groups = {"routing", "data", "encoder", "trainer", "checkpoint", "sampling", "validation", "budget", "sweep"}
    assert own - descriptions(schema).keys() <= groups


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)[^)]*\)", page.read_text()):
        if target.startswith("http"):
            continue
        there = page.parent / target if target else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), f"{target}#{anchor}"


def test_headings_are_called_as_github_does(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A run's `--cfg job`: what, why?\n## Two words\n```bash\n# no heading\n```\n"
        "## Two words\n### [Linked](x.md) and **bold**, snake_case\n"
    )
    assert anchors(page) == {
        "a-runs---cfg-job-what-why",
        "two-words",
        "two-words-1",
        "linked-and-bold-snake_case",
    }


@pytest.mark.slow
def test_the_notebook_page_runs(tmp_path: Path) -> None:
    cells = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "notebook.md").read_text(), re.M | re.S)
    checks = [
        "assert [picture.size for picture in pictures] == [(32, 32)] * 4",
        "assert validation_loss == judged.metrics['val/loss']",
        "assert losses['velocity'].mean() < 1 and losses['align'].mean() < 2 and images.shape == (4, 3, 32, 32)",
    ]
    script = "\n".join(line for cell, check in zip(cells, checks, strict=True) for line in (cell, check))
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_project_of_ones_own_runs(tmp_path: Path) -> None:
    project = tmp_path / "my_project"
    shutil.copytree(ROOT / "docs" / "my_project", project)
    (shown,) = re.findall(
        r"^PYTHONPATH=\. python (-m aaa\.train --config-dir .*)$", (ROOT / "docs" / "extending.md").read_text(), re.M
    )
    few = ["trainer.batch_size=8", "sampling.steps=2", "evaluation.num_images=4"]
    env = os.environ | {"PYTHONPATH": f".{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        [sys.executable, *shown.split(), *few], cwd=project, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    (run,) = project.glob("outputs/gradients-dit_flat/*")
    assert "quality/brightness_error" in (run / "metrics.jsonl").read_text()
    assert (run / "evaluation" / "step-00000030-first.png").is_file()
    draw = [sys.executable, "-m", "aaa.sample", f"model={run}", "prompt=red to blue", "num_images=1"]
    refused = subprocess.run(draw, cwd=project, env=env, capture_output=True, text=True, timeout=300)
    assert "wants to run 'my_parts.HaarVAE'" in refused.stderr
    drawn = subprocess.run(
        [*draw, "trust_config=true"], cwd=project, env=env, capture_output=True, text=True, timeout=300
    )
    assert drawn.returncode == 0, drawn.stderr
    conv = [argument.replace("model=dit_flat", "model=conv") for argument in shown.split()]
    done = subprocess.run(
        [sys.executable, *conv, *few, "optimizer=adamw", "budget.parameters=3e4"],
        cwd=project,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (run,) = project.glob("outputs/gradients-conv/*")
    again = [sys.executable, "-m", "aaa.train", f"resume={run}", "trainer.max_steps=32"]
    refused = subprocess.run(again, cwd=project, env=env, capture_output=True, text=True, timeout=300)
    assert "my_parts." in refused.stderr
    resumed = subprocess.run(
        [*again, "trust_config=true"], cwd=project, env=env, capture_output=True, text=True, timeout=300
    )
    assert resumed.returncode == 0, resumed.stderr
    draw = [
        sys.executable,
        "-m",
        "aaa.sample",
        f"model={run}",
        "prompt=red to blue",
        "num_images=1",
        "trust_config=true",
    ]
    drawn = subprocess.run(draw, cwd=project, env=env, capture_output=True, text=True, timeout=300)
    assert drawn.returncode == 0, drawn.stderr
