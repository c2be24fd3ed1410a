"""Whether what `model=` names is there at all: asked before torch is loaded, which takes seconds."""

from pathlib import Path

from aaa.errors import UserError
from aaa.saved.checkpoint_folders import CHECKPOINTS, those_of_its_run

RUN_CONFIG = "config.yaml"


def require_there(path: Path) -> None:
    """Refuse a place where nothing is.

    Raises:
        UserError: naming what is there: other checkpoints of the run, or the newest run.
    """
    if path.exists():
        return
    if path.parent.name == CHECKPOINTS and path.parent.is_dir():
        raise UserError(f"model={path}: there is no such checkpoint. Its run has: {those_of_its_run(path)}.")
    raise UserError(f"model={path}: there is no such folder.{_newest_run()}")


def _newest_run() -> str:
    """A sentence on the run that was begun or gone on with last; nothing where there are none."""
    found = (path for depth in ("*/*", "*/*/*") for path in Path("outputs").glob(f"{depth}/{RUN_CONFIG}"))
    runs = sorted((path for path in found if path.parent.name != ".hydra"), key=lambda path: path.stat().st_mtime)
    return f" The newest run here is {runs[-1].parent}." if runs else ""
