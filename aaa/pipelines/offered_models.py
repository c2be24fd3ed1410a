"""The models that a path offers to a page: loaded when they are first drawn with, some of them kept."""

import logging
from functools import lru_cache
from pathlib import Path

from aaa.config.sampling_choice import SamplingChoice
from aaa.devices import pick_device
from aaa.pipelines.text_to_image import TextToImage
from aaa.saved.checkpoint_folders import AVERAGE, checkpoints, damage, step_of
from aaa.saved.model_card import example_prompt
from aaa.saved.models import DRAWN_WITH, find_saved, later_checkpoint
from aaa.saved.named_model import EXPORTED, RUN_CONFIG, is_exported

logger = logging.getLogger(__name__)

LOADED = 4  # models that are kept at once
FINISHED = "finished model"


class Drawers:
    """The models that a path offers: one, or of a run folder the finished one and those of its whole checkpoints.

    Args:
        path: as `aaa.sample` takes it.
        choice: in place of the models' own way to be sampled.
        device: `auto`, `cpu` or `cuda`.
        precision: to run them in; None for what `model_precision` says.
        preview: folder of TAEF2, or None.
        heads: of a file of weights that does not say.
        trust_config: whether their configs, and that of a model that guides them, may name any class.

    Raises:
        UserError: if there is no model there.
    """

    def __init__(
        self,
        path: Path,
        choice: SamplingChoice,
        *,
        device: str,
        precision: str | None,
        preview: str | None,
        heads: int | None,
        trust_config: bool,
    ) -> None:
        self.path, self.choice, self.device, self.preview = path, choice, pick_device(device), preview
        self._precision = precision
        self._heads, self._trust_config = heads, trust_config
        self._places: dict[str, tuple[Path, str]] = {}
        if (path / RUN_CONFIG).is_file():
            finished = {FINISHED: (path / EXPORTED, "ema")} if is_exported(path) else {}
            if later_checkpoint(path) is None:
                self._places |= finished
            for checkpoint in checkpoints(path):
                # What the page begins with must be whole; to hash all others would take minutes.
                if (problem := damage(checkpoint, () if self._places else DRAWN_WITH)) is not None:
                    logger.warning("%s is damaged: %s. It is left out.", checkpoint, problem)
                    continue
                step = step_of(checkpoint)
                if (checkpoint / AVERAGE).is_file():
                    self._places[f"step {step}"] = checkpoint, "ema"
                self._places[f"step {step}, raw weights"] = checkpoint, "raw"
            self._places |= finished
        if not self._places:
            self._places[path.resolve().name] = path, "ema"
        self._newest: TextToImage | None = None  # of those that are kept, the last one that was loaded
        self.get = lru_cache(LOADED)(self._load)

    @property
    def names(self) -> list[str]:
        """Of the models, the best to begin with first."""
        return list(self._places)

    @property
    def example(self) -> str | None:
        """A prompt that the first model knows, as its card has it."""
        folders = (self.path / EXPORTED, self.path)
        return next((prompt for folder in folders if (prompt := example_prompt(folder)) is not None), None)

    def _load(self, name: str) -> TextToImage:
        place, weights = self._places[name]
        saved = find_saved(place, weights, self._trust_config, self._heads)
        self._newest = TextToImage(
            saved,
            self.device,
            self.preview,
            self._precision,
            self.choice,
            trust_config=self._trust_config,
            beside=self._newest,
        )
        return self._newest
