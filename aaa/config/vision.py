"""Whether a folder can be a vision transformer, told from its files when a config is composed; torch is not loaded."""

import json
from pathlib import Path
from typing import Any

from aaa.errors import UserError, reason
from aaa.tracking.printed import command

NEEDED = ("config.json", "preprocessor_config.json", "*.safetensors")


def require_vision_folder(key: str, path: str | None) -> None:
    """Refuse a folder without a vision transformer of transformers.

    Args:
        key: that names it.
        path: of the folder.

    Raises:
        UserError: saying what is missing.
    """
    if path is None:
        raise UserError(f"{key}=null: must be the folder of a vision model, such as DINOv2's.")
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"{key}={path}: there is no such folder (looked in {folder.absolute()}).")
    if missing := [name for name in NEEDED if not any(folder.glob(name))]:
        raise UserError(
            f"{key}={path}: has no {', '.join(missing)}.\n    "
            f"{command('hf', 'download', 'OWNER/MODEL', '--local-dir', path)}   fetches a whole model."
        )
    try:
        said: Any = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{key}={path}: its config.json is not JSON ({reason(error)}).") from None
    if not isinstance(said, dict) or not {"vision_config", "patch_size"} & set(said):
        kind = said.get("model_type") if isinstance(said, dict) else None
        raise UserError(f"{key}={path}: {kind} is no vision transformer: its config.json says no patch_size.")
