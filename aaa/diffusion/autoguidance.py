"""Guidance by another model: away from what a smaller or less trained one says to the same prompt."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from aaa.diffusion.guidance import Extrapolation, Predict, VelocityModel
from aaa.errors import UserError


@runtime_checkable
class GuidedByModel(Protocol):
    """A guidance that another saved model takes part in; whoever draws loads it.

    Attributes:
        path: of that model: a run, one of its checkpoints, its model/ folder or a file of weights.
        weights: `ema` or `raw`, where there are both.
        guide: the model, once it is loaded.
    """

    path: str
    weights: str
    guide: VelocityModel | None


class CheckpointGuidance(Extrapolation):
    """Autoguidance (Karras et al. 2024, arXiv 2406.02507, equation 3): `weaker + scale * (better - weaker)`.

    Both models are told the same prompt, so that what they differ in is how good they are, and the pictures do not
    lose variety for the prompt's sake. The negative prompt has no part in it.

    Args:
        scale, interval, rescale: as in `Extrapolation`.
        model: path of the weaker model: an earlier checkpoint of the run, say, or a smaller model of the same encoder.
        weights: `ema` or `raw` of it, where there are both.

    Raises:
        UserError: if no model is named.
    """

    reads_negative_prompt = False

    def __init__(
        self,
        scale: float,
        model: str | None = None,
        weights: str = "ema",
        interval: Sequence[float] = (0.0, 1.0),
        rescale: float = 0.0,
    ) -> None:
        super().__init__(scale, interval, rescale)
        if not model:
            raise UserError(
                "guidance.model: guidance=checkpoint steers away from a weaker model, and none is named: "
                "guidance.model=RUN/checkpoints/step-00000600, say."
            )
        self.path, self.weights = str(model), weights
        self.guide: VelocityModel | None = None

    def __call__(self, model: VelocityModel, prompt_embeds: Tensor, negative_prompt_embeds: Tensor) -> Predict:
        """See `Guidance`."""
        del negative_prompt_embeds
        guide = self.guide
        assert guide is not None, "whoever draws loads the guide first"

        def predict(latents: Tensor, sigma: float) -> Tensor:
            better = model(latents, prompt_embeds, sigma)
            return self.beyond(better, guide(latents, prompt_embeds, sigma)) if self.steers(sigma) else better

        return predict
