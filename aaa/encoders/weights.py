"""Files of pretrained weights: where they are looked for, how to get them, how DiffSynth loads them."""

import contextlib
import io
import logging
from pathlib import Path
from typing import Any

import torch

from aaa.encoders.downloads import fetch_model_files, model_folder
from aaa.errors import UserError
from aaa.tracking.printed import command

logger = logging.getLogger(__name__)


class ModelFiles:
    """Some files of a repository, under `models/` (or `DIFFSYNTH_MODEL_BASE_PATH`) as DiffSynth lays them out.

    Args:
        model_id: the repository, e.g. `Qwen/Qwen3-0.6B`.
        names: files in it, the first one the weights.
    """

    def __init__(self, model_id: str, names: tuple[str, ...]) -> None:
        self.model_id, self.names = model_id, names
        self.folder = model_folder(model_id)

    @property
    def paths(self) -> list[Path]:
        """Where the files are, or should be."""
        return [self.folder / name for name in self.names]

    def fetch(self) -> None:
        """Download what is missing, if that is possible."""
        if missing := [name for name in self.names if not (self.folder / name).is_file()]:
            fetch_model_files(self.model_id, missing)

    def missing(self) -> str | None:
        """Which files are missing, where they were looked for and what fetches them; None if none is."""
        missing = [path for path in self.paths if not path.is_file()]
        if not missing:
            return None
        lines = [f"{path} (looked in {path.parent.absolute()})" for path in missing]
        names = [str(path.relative_to(self.folder)) for path in missing]
        folder = str(self.folder)
        return "\n    ".join(
            [
                f"{self.model_id}:",
                *lines,
                command("modelscope", "download", "--model", self.model_id, *names, "--local_dir", folder),
                f"or: {command('hf', 'download', self.model_id, *names, '--local-dir', folder)}",
            ]
        )

    def load(self, model_name: str, dtype: torch.dtype, device: str) -> Any:
        """Load the weights with DiffSynth, which tells the architecture by the hash of keys and shapes.

        Args:
            model_name: what DiffSynth calls the architecture, e.g. `flux2_vae`.
            dtype: of the weights.
            device: where to put them.

        Raises:
            UserError: if files are missing, or hold something else.
        """
        if message := self.missing():
            raise UserError(f"Weights are missing:\n  {message}")
        from diffsynth.core import ModelConfig
        from diffsynth.diffusion.base_pipeline import BasePipeline

        config = ModelConfig(
            model_id=self.model_id,
            origin_file_pattern=self.names[0],
            skip_download=True,
        )
        logger.info("Loading %s", self.paths[0])
        chatter = io.StringIO()
        try:
            with contextlib.redirect_stdout(chatter):
                pool = BasePipeline(device=device, torch_dtype=dtype).download_and_load_models([config])
                model = pool.fetch_model(model_name)
        except Exception as error:
            raise UserError(
                f"{self.paths[0]}: DiffSynth cannot load it ({error}). "
                "Is the download whole? Delete it and fetch it again."
            ) from error
        logger.debug("%s", chatter.getvalue())
        if model is None:
            raise UserError(f"{self.paths[0]}: not the weights of {model_name}, but of another model.")
        return model.eval()
