"""A vision transformer that gradients flow through, beside the one whose features are computed once."""

import json
from pathlib import Path

import pytest
import torch

from aaa.encoders.differentiable_vision import DifferentiableVision
from aaa.encoders.vision import VisionModel
from aaa.encoders.vision_input import read_vision_input
from aaa.errors import UserError
from tests.encoders.test_vision import LEADING, pictures
from tests.helpers.flops import counted_flops
from tests.helpers.pretrained import VISION_PATCH, VISION_SIDE, make_vision_model


@pytest.mark.parametrize("kind", LEADING)
def test_it_sees_what_the_other_does_and_counts_what_that_takes(tmp_path: Path, kind: str) -> None:
    folder = make_vision_model(tmp_path / kind, kind)
    images, vision = pictures(VISION_SIDE, VISION_SIDE), DifferentiableVision(str(folder))
    found = vision.features(images)
    torch.testing.assert_close(found, VisionModel(str(folder)).compute(images, VISION_PATCH), atol=1e-4, rtol=1e-4)
    with counted_flops() as counter, torch.no_grad():
        vision.features(images)
    assert vision.flops() == counter.get_total_flops() / len(images)


def test_gradients_reach_every_pixel_of_a_picture_of_another_size(tmp_path: Path) -> None:
    vision = DifferentiableVision(str(make_vision_model(tmp_path / "model")))
    for height, width in ((16, 16), (32, 64)):
        images = pictures(height, width).requires_grad_()
        found = vision.features(images)
        assert found.shape == (2, 16, 4, 4)
        (gradient,) = torch.autograd.grad(found.square().sum(), images)
        assert gradient.abs().min() > 0
    beyond = torch.full((1, 3, VISION_SIDE, VISION_SIDE), 1.2).requires_grad_()
    (gradient,) = torch.autograd.grad(vision.features(beyond).square().sum(), beyond)
    assert gradient.abs().max() > 0


def test_what_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    folder = make_vision_model(tmp_path / "model", "vit")
    said = json.loads((folder / "preprocessor_config.json").read_text())
    key = r"objective\.terms\.perceptual\.vision\.path=.*model: "
    for changed, wrong in (
        ({"image_mean": [0.5]}, "says no image_mean and image_std of RGB"),
        ({"size": {"longest_edge": 9}}, "says no size of pictures"),
    ):
        (folder / "preprocessor_config.json").write_text(json.dumps(said | changed))
        with pytest.raises(UserError, match=key + f".*{wrong}"):
            DifferentiableVision(str(folder)).features(pictures(8, 8))
    (folder / "preprocessor_config.json").write_text(json.dumps(said | {"do_normalize": False}))
    plain = read_vision_input("key", folder)
    assert (plain.mean.flatten().tolist(), plain.deviation.flatten().tolist()) == ([0.0] * 3, [1.0] * 3)


def test_a_model_sees_after_its_cost_was_counted_as_before(tmp_path: Path) -> None:
    folder = str(make_vision_model(tmp_path / "model", "vit"))
    counted = DifferentiableVision(folder)
    counted.flops()
    images = pictures(8, 8)
    assert torch.equal(counted.features(images), DifferentiableVision(folder).features(images))
