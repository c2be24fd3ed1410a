"""Do pictures of the built-in data set show what their prompts say?"""

import logging
import re
from collections.abc import Mapping, Sequence

from PIL import Image

from aaa.data.shapes import BACKGROUNDS, COLORS, SHAPES
from aaa.errors import require_number
from aaa.evaluation.evaluated_model import EvaluatedModel, Group, trained_on
from aaa.evaluation.protocol import NotApplicable
from aaa.evaluation.shapes_reader import read

logger = logging.getLogger(__name__)

LOOKED_AT = 16  # prompts: a ring or a cross may be in one of other data
SPLITS: dict[str, Group] = {"seen": "trained_on", "held_out": "validation"}


class ShapesAgreement:
    """The share of pictures in which the analytic reader sees what the prompt says.

    Args:
        num_images: pictures to draw for pairs of shape and colour that were trained on (`seen`), and again for
            pairs that were not (`held_out`).
    """

    def __init__(self, num_images: int) -> None:
        require_number("evaluation.num_images", num_images, least=1)
        self.num_images = num_images

    def check(self, evaluated: EvaluatedModel) -> None:
        """Look at the first prompts of each split.

        Raises:
            NotApplicable: if one is none of data=shapes.
        """
        for split in SPLITS.values():
            records = trained_on(evaluated.records) if split == "trained_on" else evaluated.records[split]
            for record in records[:LOOKED_AT].tolist():
                if not _is_of_shapes(prompt := evaluated.prompt(record)):
                    raise NotApplicable(f"The prompts ({prompt!r}) are not those of data=shapes.")

    def evaluate(self, evaluated: EvaluatedModel) -> dict[str, float]:
        """`quality/seen`, `quality/held_out`: the share with shape, colour and background all right; and each alone."""
        self.check(evaluated)
        metrics: dict[str, float] = {}
        for name, split in SPLITS.items():
            drawn = evaluated.draw(split, self.num_images)
            if not drawn.images:
                continue
            pairs = list(zip(drawn.prompts, drawn.images, strict=True))
            shares = _shares(evaluated.each(pairs, lambda some: [agrees(*pair) for pair in some]))
            metrics |= {f"quality/{name}{part}": share for part, share in shares.items()}
            logger.info(
                "Of %d pictures for %s pairs of shape and colour, %.1f%% show the right shape and colours.",
                len(drawn.images),
                name.replace("_", "-"),
                100 * metrics[f"quality/{name}"],
            )
        return metrics


def agrees(prompt: str, image: Image.Image) -> dict[str, bool]:
    """Whether a picture is right in everything (key ``""``), in `_shape`, `_color` and `_background`."""
    seen = read(image)
    subject, _, scene = prompt.partition(" at ")
    checks = {
        "_shape": _said(subject, SHAPES) == seen.shape,
        "_color": _said(subject, COLORS) == seen.color,
        "_background": _said(scene, BACKGROUNDS) == seen.background,
    }
    return {"": all(checks.values())} | checks


def _shares(checks: Sequence[Mapping[str, bool]]) -> dict[str, float]:
    return {part: sum(check[part] for check in checks) / len(checks) for part in checks[0]}


def _is_of_shapes(prompt: str) -> bool:
    is_whole = all(_said(prompt, names) is not None for names in (SHAPES, COLORS, BACKGROUNDS))
    return is_whole and prompt.endswith(" background")


def _said(text: str, names: Mapping[str, object]) -> str | None:
    return next((word for word in re.findall(r"\w+", text) if word in names), None)
