"""What an objective needs of the cache: computed from decoded latents, by a model of others where it says so."""

import shutil
from pathlib import Path

import torch

from aaa.assembly.training_data import TrainingData
from aaa.data.code_fingerprint import code_fingerprint
from aaa.data.shapes import ShapesSource
from aaa.diffusion.prediction import VelocityPrediction
from aaa.diffusion.schedulers import LinearScheduler
from aaa.encoders.pixel import PixelVAE
from aaa.encoders.vision import VisionModel
from aaa.objectives.align import Align
from aaa.objectives.flow_matching import FlowMatching
from aaa.run.extras import open_extras
from tests.data.test_cache import build
from tests.helpers.pretrained import make_vision_model


def aligned(**settings: object) -> FlowMatching:
    numbers = {"projector": "conv", "distance": "cosine", "spatial_norm": True, "dim": 8, "latent_channels": 48}
    term = Align(0.5, 1, **(numbers | settings))  # type: ignore[arg-type]
    return FlowMatching(LinearScheduler(), torch.zeros(6, 32), 0.0, VelocityPrediction(), terms={"align": term})


def opened(tmp_path: Path, objective: FlowMatching) -> TrainingData:
    cache = build(tmp_path / "cache", ShapesSource(16, num_records=70, num_validation=0))
    data = TrainingData(cache, PixelVAE(4), torch.arange(70), torch.arange(0), None)
    open_extras(data, objective, torch.device("cpu"))
    return data


def test_what_a_vision_model_sees_is_computed_once_for_each_model(tmp_path: Path) -> None:
    vision = VisionModel(str(make_vision_model(tmp_path / "dinov2")))
    data = opened(tmp_path, aligned(target="vision", vision=vision))
    assert "_model" not in vars(vision), "its memory is free again"
    batch = data.cache.batch(torch.tensor([69, 3, 3]))
    pictures = PixelVAE(4).decode(batch.latents)
    torch.testing.assert_close(batch.extras["vision"], vision.compute(pictures, 4), atol=1e-2, rtol=1e-2)
    assert batch.extras["vision"].shape == (3, 16, 4, 4)
    written = files(tmp_path)
    assert len(written) == 1
    # The same files, wherever they lie, are the same model; others are another.
    shutil.copytree(tmp_path / "dinov2", tmp_path / "moved")
    again = opened(tmp_path, aligned(target="vision", vision=VisionModel(str(tmp_path / "moved"))))
    assert files(tmp_path) == written
    assert torch.equal(again.cache.batch(torch.tensor([69, 3, 3])).extras["vision"], batch.extras["vision"])
    other = VisionModel(str(make_vision_model(tmp_path / "other", layers=1)))
    opened(tmp_path, aligned(target="vision", vision=other))
    assert len(files(tmp_path)) == 2
    assert written.items() <= files(tmp_path).items()


def test_a_target_without_files_has_the_version_that_it_had(tmp_path: Path) -> None:
    opened(tmp_path, aligned(target="hog"))
    (name,) = files(tmp_path)
    assert name == f"hog-{code_fingerprint(['aaa.objectives.hog.histograms_of_gradients'])[:8]}-00000.safetensors"


def files(tmp_path: Path) -> dict[str, int]:
    """When each of the extras was written."""
    return {file.name: file.stat().st_mtime_ns for file in (tmp_path / "cache" / "extras").iterdir()}
