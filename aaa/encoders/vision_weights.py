"""A vision model of transformers from its folder: config, image processor and weights, each asked for by itself.

Only safetensors are read, nothing is downloaded, and no code of the folder runs. Of a model of pictures and texts, such
as CLIP, the half that sees pictures is taken.
"""

from pathlib import Path
from typing import Any

import torch

from aaa.errors import UserError, reason

# What makes one vector of all tokens: not every file has it, and not everyone asks.
OF_POOLING = ("pooler.", "head.")


def read_vision_config(key: str, path: Path) -> Any:
    """What the model is, as transformers' config of the half that sees pictures.

    Args:
        key: of our config that names the folder, for errors.
        path: the folder: config.json, preprocessor_config.json and *.safetensors.

    Raises:
        UserError: if there is no config.json, or it is no model's.
    """
    from transformers import AutoConfig

    if not (path / "config.json").is_file():
        raise UserError(
            f"{key}={path}: no model there (looked for config.json in {path.absolute()}). "
            "Give the folder of a vision model of transformers."
        )
    try:
        whole = AutoConfig.from_pretrained(path, local_files_only=True)
    except Exception as error:
        raise UserError(f"{key}={path}: its config.json cannot be read ({reason(error)}).") from error
    return whole.vision_config if "vision_config" in whole.sub_configs else whole


def load_image_processor(key: str, path: Path) -> Any:
    """What makes the model's pixels of pictures.

    Raises:
        UserError: if transformers cannot load it.
    """
    from transformers import AutoImageProcessor

    try:
        return AutoImageProcessor.from_pretrained(path, local_files_only=True)
    except Exception as error:
        raise UserError(f"{key}={path}: its image processor cannot be loaded ({reason(error)}).") from error


def load_vision_model(key: str, path: Path, config: Any, *, pooling: bool) -> Any:
    """The model in float32, on the CPU, for inference.

    Args:
        key, path: as above.
        config: as `read_vision_config` gives it.
        pooling: whether the weights that pool are wanted too.

    Raises:
        UserError: if transformers cannot load it, or weights are missing.
    """
    from transformers import AutoModel

    try:
        model, loaded = AutoModel.from_pretrained(
            path,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    except Exception as error:
        raise UserError(f"{key}={path}: transformers cannot load it ({reason(error)}).") from error
    unneeded = () if pooling else OF_POOLING
    if missing := sorted(name for name in loaded["missing_keys"] if not name.startswith(unneeded)):
        raise UserError(f"{key}={path}: its files have no {missing[0]}; they are not {type(model).__name__}'s.")
    return model.eval()
