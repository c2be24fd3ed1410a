"""What the command line answers before anything heavy is loaded."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Command

HEAVY = ("torch", "diffsynth", "transformers", "accelerate", "wandb", "matplotlib")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--cfg", "job"],
        ["--cfg", "job", "--resolve"],
        ["--help"],
        ["model.dpeth=3"],
        ["model.heads=5"],
        ["trainer.max_steps=0"],
        ["data.resolution=30"],
    ],
)
def test_answers_come_before_torch_is_loaded(arguments: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "aaa.train", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "hydra" in imported
    assert not imported & set(HEAVY)
    assert not list(tmp_path.iterdir())


def test_the_default_and_the_tutorials_run_compose(command: Command) -> None:
    default = command("aaa.train", "output_dir=x", "--cfg", "job", "--resolve")
    assert default.code == 0, default.err
    for line in ("name: shapes-dit_tiny", "in_channels: 192", "text_dim: 128"):
        assert line in default.out
    tutorial = command("aaa.train", "model=dit_0.1b", "data=pokemon", "output_dir=x", "--cfg", "job", "--resolve").out
    for line in (
        "name: pokemon-dit_0.1b",
        "resolution: 256",
        "name: flux2_qwen3",
        "max_prompt_tokens: 128",
        "in_channels: 128",
        "text_dim: 1024",
        "_target_: aaa.diffusion.schedulers.Flux2Scheduler",
        "_target_: aaa.training.optimizers.adamw",
        "learning_rate: 0.0002",
    ):
        assert line in tutorial
    pixels = command("aaa.train", "data=pokemon", "encoder=pixel", "data.resolution=64", "--cfg", "job").out
    assert "name: pixel" in pixels


def test_a_mixture_of_pictures_can_be_shown_resolved(command: Command) -> None:
    parts = ["+data@data.parts.shapes=shapes", "+data@data.parts.mine=imagefolder", "data.parts.mine.root=/x"]
    shown = command("aaa.train", "data=mixture", *parts, "data.resolution=32", "--cfg", "job", "--resolve")
    assert shown.code == 0, shown.err
    assert "root: /x" in shown.out


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.dpeth=3", "model.dpeth: no such config key (did you mean 'model.depth'?)"),
        ("modle=dit_10m", "modle: no such config key (did you mean 'model'?)"),
        ("model=dit_1m", "model=dit_1m: no such option (did you mean 'dit_10m'?). There is: dit_0.1b, dit_0.3b"),
        (
            "trainer.max_steps=many",
            "trainer.max_steps=many: must be a whole number, such as 1000.",
        ),
        ("data.root=x", "data.root: no such config key"),
        ("optimizer.lr=1", "optimizer.lr: no such config key"),
        ("data=nothing", "There is: cache, huggingface, imagefolder, mixture, openmoji, pokemon, shapes, webdataset"),
        ("seed=[1,", "error: "),
    ],
)
def test_a_mistyped_override_is_answered_with_the_nearest_right_one(
    command: Command, override: str, expected: str
) -> None:
    assert expected in command("aaa.train", override).error


def test_tab_completion_offers_options_and_keys(command: Command, tmp_path: Path) -> None:
    def complete(line: str) -> list[str]:
        environment = {"COMP_LINE": f"aaa-train {line}", "COMP_POINT": str(len(line) + 10)}
        return command("aaa.train", "-sc", "query=bash", **environment).out.split()

    assert set(complete("model=dit_0")) == {"model=dit_0.1b", "model=dit_0.3b", "model=dit_0.6b"}
    assert "trainer.max_steps=" in complete("trainer.max")


def test_the_package_works_installed_as_a_wheel_from_another_folder(tmp_path: Path) -> None:
    source = Path(__file__).parents[2]
    built = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, source],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("aaa-*.whl")
    target = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", target, wheel], check=True
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        # -S -s and an explicit path: the checkout, if installed in development mode, must not be found instead.
        [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {str(target)!r}); sys.argv[1:] = ['--cfg', 'job'];"
            "import aaa; assert aaa.__file__.startswith(sys.path[0]); import aaa.train; aaa.train.main()",
        ],
        cwd=elsewhere,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "name: dit_tiny" in done.stdout
