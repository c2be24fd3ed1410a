"""Pictures of prompts are the same whether these are records' or one's own."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from aaa.data.shapes import ShapesSource
from aaa.diffusion.guidance import PromptGuidance
from aaa.diffusion.prediction import VelocityPrediction
from aaa.diffusion.sampling import Sampling
from aaa.diffusion.schedulers import LinearScheduler
from aaa.diffusion.sde import Sde
from aaa.encoders.pixel import PixelVAE
from aaa.evaluation import drawing
from aaa.evaluation.drawing import NotFinite, PictureDrawer
from aaa.training.precision import ModelPrecision
from tests.data.test_cache import build


class OfThePrompt(nn.Module):
    """Predicts something else for each prompt, which no other picture of the batch has a part in."""

    def forward(self, latents: Tensor, prompt_embeds: Tensor, timestep: Tensor) -> Tensor:
        del timestep
        return latents - prompt_embeds.mean((1, 2)).view(-1, 1, 1, 1)


def drawer_in(folder: Path) -> PictureDrawer:
    cache = build(folder / "cache", ShapesSource(16, num_records=8, num_validation=2))
    sampling = Sampling(LinearScheduler(), Sde(), PromptGuidance(2), VelocityPrediction(), steps=3)
    return PictureDrawer(cache, PixelVAE(4), sampling, seed=7, precision=ModelPrecision("float32", torch.device("cpu")))


def test_a_prompt_of_ones_own_is_drawn_as_that_of_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawer, records = drawer_in(tmp_path), torch.arange(5)
    of_records = drawer.draw(OfThePrompt(), records).images
    embeds, shape = drawer.cache.gather(records)[1], drawer.cache.shapes[0]
    own = drawer.draw_prompts(OfThePrompt(), embeds, shape)
    assert [picture.tobytes() for picture in own] == [picture.tobytes() for picture in of_records]
    assert len({picture.tobytes() for picture in own}) == 5
    monkeypatch.setattr(drawing, "BATCH_SIZE", 2)
    assert [picture.tobytes() for picture in drawer.draw_prompts(OfThePrompt(), embeds, shape)] == [
        picture.tobytes() for picture in own
    ]
    (larger,) = drawer.draw_prompts(OfThePrompt(), embeds[:1], (shape[0], 2 * shape[1], shape[2]))
    assert larger.size == (own[0].width, 2 * own[0].height)
    with pytest.raises(NotFinite):
        drawer.draw_prompts(OfThePrompt(), embeds * torch.inf, shape)
