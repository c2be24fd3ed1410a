"""A file of weights is the model of the folder that it lies in."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from aaa.errors import UserError
from aaa.models.factory import build_dit
from aaa.run.saved_evaluation import run_of
from aaa.run.starting_weights import start_from
from aaa.saved.checkpoint import save_weights
from aaa.saved.checkpoint_folders import write_manifest
from aaa.saved.models import find_saved, saved_statistics
from aaa.saved.weights_file import DiTNumbers
from tests.helpers.weights_metadata import model_header

NUMBERS = DiTNumbers(32, 1, 2, 12, 16, 3.0, 4)
CONFIG: dict[str, Any] = {
    "model": {"dim": 32, "depth": 1, "heads": 2, "in_channels": 12, "text_dim": 16, "position_grid": 4},
    "encoder": {
        "vae": {"_target_": "aaa.encoders.pixel.PixelVAE", "latent_mean": [0.5], "latent_std": [2.0]},
        "text_encoder": {"_target_": "aaa.encoders.words.WordEmbedding"},
    },
    "scheduler": {"_target_": "aaa.diffusion.schedulers.LinearScheduler"},
    "sampling": {"steps": 2},
    "data": {"name": "made_up", "resolution": 16},
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run (v2)"
    model = build_dit(32, 1, 2, in_channels=12, text_dim=16, position_grid=4)
    checkpoint = folder / "checkpoints" / "step-00000002"
    for place in (folder / "model", checkpoint):
        place.mkdir(parents=True)
        save_weights(place / "model.safetensors", model, {"model": model_header(NUMBERS)})
    save_weights(checkpoint / "ema.safetensors", model, {})
    (checkpoint / "state.json").write_text("{}")
    write_manifest(checkpoint)
    (folder / "model" / "config.json").write_text(json.dumps(CONFIG))
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    return folder


def test_a_link_to_a_checkpoint_is_that_checkpoint(run: Path, tmp_path: Path) -> None:
    link = tmp_path / "best"
    link.symlink_to(run / "checkpoints" / "step-00000002")
    assert find_saved(link, "raw", trust_config=False).config == find_saved(run, "raw", trust_config=False).config


def test_a_run_that_was_trained_further_is_what_it_is_now(run: Path) -> None:
    """Its average and its raw weights are of one step, also where the newest checkpoint is damaged."""
    exported, checkpoint = run / "model" / "model.safetensors", run / "checkpoints" / "step-00000002"
    model = build_dit(32, 1, 2, in_channels=12, text_dim=16, position_grid=4)
    for step, later in ((2, False), (1, True)):
        save_weights(exported, model, {"model": model_header(NUMBERS), "step": str(step)})
        expected = checkpoint / "ema.safetensors" if later else exported
        assert find_saved(run, "ema", trust_config=False).weights == expected
        assert find_saved(run / "model", "ema", trust_config=False).weights == exported
    assert find_saved(run, "raw", trust_config=False).weights.parent == checkpoint
    (checkpoint / "ema.safetensors").write_bytes(b"short")
    assert find_saved(run, "ema", trust_config=False).weights == exported


FILES = ["model/model.safetensors", "checkpoints/step-00000002/model.safetensors"]
FILES += ["checkpoints/step-00000002/ema.safetensors"]


@pytest.mark.parametrize("file", FILES)
def test_a_file_brings_the_config_that_lies_beside_it(
    run: Path, file: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    saved = find_saved(run / file, "raw", trust_config=False)
    assert saved.weights == run / file
    assert saved.config == find_saved(run, "ema", trust_config=False).config
    statistics = saved_statistics(run / file)
    assert statistics is not None
    assert statistics == saved_statistics(run) == saved_statistics(run / file)
    assert run_of(run / file) == run
    link = tmp_path / "linked.safetensors"
    link.symlink_to(run / file)
    assert find_saved(link, "ema", trust_config=False).config == saved.config
    monkeypatch.chdir((run / file).parent)
    assert find_saved(Path(Path(file).name), "ema", trust_config=False).config == saved.config
    assert run_of(Path(Path(file).name)).resolve() == run
    start_from(run / file, build_dit(32, 1, 2, in_channels=12, text_dim=16, position_grid=4), CONFIG["model"], {})


def test_a_file_that_lies_alone_and_is_not_the_tutorials_is_refused(run: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.safetensors"
    shutil.copyfile(run / "model" / "model.safetensors", alone)
    with pytest.raises(UserError, match=r"in_channels is 12, the tutorial's 128, text_dim is 16, the tutorial's 1024"):
        find_saved(alone, "ema", trust_config=False)
    assert saved_statistics(alone) is None
    # A folder may have a config.json of something else.
    (tmp_path / "config.json").write_text('{"architectures": ["Other"]}')
    with pytest.raises(UserError, match=r"no config.json lies beside it"):
        find_saved(alone, "ema", trust_config=False)


def _damage(run: Path) -> None:
    (run / FILES[2]).write_bytes(b"x" * (run / FILES[2]).stat().st_size)


def _strange(run: Path) -> None:
    config = json.loads((run / "model" / "config.json").read_text())
    config["encoder"]["vae"]["_target_"] = "os.system"
    (run / "model" / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("spoil", "file", "expected"),
    [
        (_damage, FILES[2], "the checkpoint is damaged: ema.safetensors is not what was written"),
        (_strange, FILES[0], "wants to run 'os.system', which is not part of aaa"),
        (lambda run: (run / "config.yaml").unlink(), FILES[1], "the config.yaml of its run is not in"),
    ],
)
def test_what_is_wrong_with_its_folder_is_said(
    run: Path, spoil: Callable[[Path], None], file: str, expected: str
) -> None:
    spoil(run)
    with pytest.raises(UserError, match=expected):
        find_saved(run / file, "ema", trust_config=False)


def test_who_names_no_folder_is_told_of_the_newest_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^model=TIMESTAMP: there is no such folder\.$"):
        find_saved(Path("TIMESTAMP"), "ema", trust_config=False)
    for age, name in enumerate(("newest", "older")):
        folder = tmp_path / "outputs" / "shapes" / name
        folder.mkdir(parents=True)
        (folder / "config.yaml").touch()
        os.utime(folder / "config.yaml", (1e9 - age, 1e9 - age))
    with pytest.raises(UserError, match=r"no such folder\. The newest run here is outputs/shapes/newest\.$"):
        find_saved(Path("TIMESTAMP"), "ema", trust_config=False)


def test_who_names_no_checkpoint_is_told_which_there_are(run: Path) -> None:
    there = sorted((path.name for path in (run / "checkpoints").iterdir()), reverse=True)
    with pytest.raises(UserError, match=rf"step-1: there is no such checkpoint\. Its run has: {', '.join(there)}\.$"):
        find_saved(run / "checkpoints" / "step-1", "ema", trust_config=False)


def test_who_names_a_folder_of_checkpoints_or_of_runs_is_told_what_is_in_it(run: Path) -> None:
    with pytest.raises(UserError, match=rf"Its checkpoints: model={re.escape(str(run))}/checkpoints/step-00000002$"):
        find_saved(run / "checkpoints", "ema", trust_config=False)
    with pytest.raises(UserError, match=rf"Below it there is: model={re.escape(str(run))}$"):
        find_saved(run.parent, "ema", trust_config=False)


@pytest.mark.parametrize("vae", [None, ["latent_mean"], {"latent_mean": [0.5]}, {"latent_mean": 3, "latent_std": 4}])
@pytest.mark.parametrize("file", ["", *FILES[:2]])
def test_statistics_that_are_none_are_named(run: Path, vae: object, file: str) -> None:
    for config in (run / "config.yaml", run / "model" / "config.json"):
        config.write_text(json.dumps(CONFIG | {"encoder": {"vae": vae}}))
    with pytest.raises(UserError, match=r"encoder\.vae has no latent_mean and latent_std, one number each a channel"):
        saved_statistics(run / file)


@pytest.mark.parametrize("model", ["x", [1], None])
def test_heads_for_a_config_without_a_model_are_refused(run: Path, model: object) -> None:
    (run / "model" / "config.json").write_text(json.dumps(CONFIG | {"model": model}))
    with pytest.raises(UserError, match=r"its config has no model"):
        find_saved(run / "model", "ema", trust_config=False, heads=4)


def test_weights_that_are_started_from_are_named_as_they_were_given(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"init_from=.*nowhere: there is no such folder"):
        start_from(tmp_path / "nowhere", build_dit(32, 1, 2, in_channels=12, text_dim=16), CONFIG["model"], {})
