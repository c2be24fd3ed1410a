"""Guidance by the model's own internal head: away from what a block in the middle holds already."""

from torch import Tensor

from aaa.diffusion.guidance import Extrapolation, Predict, VelocityModel
from aaa.models.forward import require_internal_head, with_hidden


class InternalGuidance(Extrapolation):
    """Internal Guidance (CVPR 2026, arXiv 2512.24176, equation 7): `D_i + scale * (D_f - D_i)`.

    `D_f` is the prediction of the last head, `D_i` that of the internal one, which `objective.terms.internal` has
    trained. One pass gives both, so that it costs what no guidance costs. Both are told the same prompt; the negative
    prompt has no part in it.

    Args:
        scale, interval, rescale: as in `Extrapolation`.
    """

    reads_negative_prompt = False

    def passes(self, sigma: float) -> int:
        """See `Guidance`."""
        del sigma
        return 1

    def __call__(self, model: VelocityModel, prompt_embeds: Tensor, negative_prompt_embeds: Tensor) -> Predict:
        """See `Guidance`.

        Raises:
            UserError: if the model has no internal head.
        """
        del negative_prompt_embeds
        require_internal_head(model.network, "guidance=internal")

        def predict(latents: Tensor, sigma: float) -> Tensor:
            if not self.steers(sigma):
                return model(latents, prompt_embeds, sigma)
            said = with_hidden(
                model.network, latents, prompt_embeds, model.timestep(latents, sigma), (), with_internal=True
            )
            better, weaker = (
                model.of(lambda *_, output=output: output)(latents, prompt_embeds, sigma)
                for output in (said.prediction, said.internal)
            )
            return self.beyond(better, weaker)

        return predict
