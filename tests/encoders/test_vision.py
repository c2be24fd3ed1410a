"""Any vision transformer of transformers, on small randomly initialised ones saved to disk."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from aaa.encoders.vision import VisionModel
from aaa.errors import UserError
from tests.helpers.pretrained import VISION_PATCH, VISION_SIDE, VISION_WIDTH, make_vision_model

LEADING = {"dinov2": 1, "registers": 4, "vit": 1, "siglip": 0, "clip": 1}  # tokens of the class and registers


def pictures(height: int, width: int) -> Tensor:
    return 2 * torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1)) - 1


@pytest.mark.parametrize("kind", LEADING)
def test_it_is_what_a_plain_call_of_transformers_gives(tmp_path: Path, kind: str) -> None:
    import transformers as hf

    folder = make_vision_model(tmp_path / kind, kind)
    images, vision = pictures(VISION_SIDE, VISION_SIDE), VisionModel(str(folder))
    said = json.loads((folder / "preprocessor_config.json").read_text())
    mean, deviation = (torch.tensor(said[f"image_{name}"])[:, None, None] for name in ("mean", "std"))
    whole = hf.AutoModel.from_pretrained(folder).eval()
    plain = whole.vision_model if kind in ("siglip", "clip") else whole
    with torch.no_grad():
        tokens = plain(pixel_values=((images + 1) / 2 - mean) / deviation).last_hidden_state
    assert tokens.shape[1] == LEADING[kind] + 16
    found = vision.compute(images, VISION_PATCH)
    assert found.shape == (2, vision.channels, 4, 4)
    for row in range(4):
        for column in range(4):
            expected = tokens[:, LEADING[kind] + 4 * row + column]
            torch.testing.assert_close(found[:, :, row, column], expected, atol=1e-4, rtol=1e-4)
    vision.release()
    assert torch.equal(vision.compute(images, VISION_PATCH), found)


@pytest.mark.parametrize("kind", ["dinov2", "siglip"])
def test_a_token_is_of_the_place_that_it_is_laid_over(tmp_path: Path, kind: str) -> None:
    vision = VisionModel(str(make_vision_model(tmp_path / kind, kind, layers=0)))
    for height, width, side in ((56, 56, 14), (56, 112, 14), (64, 64, 8)):
        images = pictures(height, width)
        changed = images.clone()
        changed[:, :, : height // 8, -width // 8 :] *= -1  # within the upper right patch
        apart = (vision.compute(images, side) - vision.compute(changed, side)).abs().amax(dim=(0, 1))
        rows, columns = height // side, width // side
        assert apart.shape == (rows, columns)
        assert apart.argmax() == columns - 1
        assert apart[rows // 2 :].max() == apart[:, : columns // 2].max() == 0


def test_it_says_what_it_is_made_of(tmp_path: Path) -> None:
    folder = make_vision_model(tmp_path / "model")
    (folder / "README.md").write_text("")
    assert VisionModel(str(folder)).channels == VISION_WIDTH
    names = [path.name for path in VisionModel(str(folder)).files]
    assert names == ["config.json", "model.safetensors", "preprocessor_config.json"]


def test_what_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    import transformers as hf

    folder = make_vision_model(tmp_path / "model", "vit")
    tensors = load_file(folder / "model.safetensors")
    images = pictures(VISION_SIDE, VISION_SIDE)
    poolless = {name: tensor for name, tensor in tensors.items() if not name.startswith("pooler.")}
    save_file(poolless, folder / "model.safetensors", {"format": "pt"})
    whole = VisionModel(str(folder)).compute(images, VISION_PATCH)
    assert whole.isfinite().all()
    del poolless["layernorm.weight"]
    save_file(poolless, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"vision\.path=.*model: its files have no layernorm\.weight; they are not ViT"):
        VisionModel(str(folder)).compute(images, VISION_PATCH)
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"vision\.path=.*model: transformers cannot load it"):
        VisionModel(str(folder)).compute(images, VISION_PATCH)
    (folder / "preprocessor_config.json").write_text("no JSON")
    with pytest.raises(UserError, match="its image processor cannot be loaded"):
        VisionModel(str(folder)).compute(images, VISION_PATCH)
    hf.BertConfig(hidden_size=16).save_pretrained(folder)
    with pytest.raises(UserError, match="bert is no vision transformer, which has square patches"):
        _ = VisionModel(str(folder)).channels
    with pytest.raises(UserError, match=r"nowhere: no model there"):
        _ = VisionModel(str(tmp_path / "nowhere")).channels
