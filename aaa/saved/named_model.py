"""Whether what `model=` names is there at all: asked before torch is loaded, which takes seconds."""

from pathlib import Path

from aaa.errors import UserError
from aaa.saved.checkpoint_folders import CHECKPOINTS, checkpoints, those_of_its_run

RUN_CONFIG = "config.yaml"  # of a run, in its folder
COMPOSED = ".hydra/config.yaml"  # the same as it was composed, before what refers to others has a value
EXPORTED, CONFIG = "model", "config.json"  # of a run's finished model: its folder, and what describes it there
NAMED = 3  # checkpoints or runs, at most


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


def is_exported(run: Path) -> bool:
    """Whether the run of this folder has left its finished model."""
    return (run / EXPORTED / CONFIG).is_file()


def offered_below(path: Path) -> str:
    """A sentence on the checkpoints or runs in a folder that is none itself; nothing where there are none."""
    if path.name == CHECKPOINTS and (there := checkpoints(path.parent)):
        return f" Its checkpoints: {', '.join(f'model={checkpoint}' for checkpoint in there[:NAMED])}"
    runs = _runs_of(path)
    return f" Below it there is: {', '.join(f'model={run}' for run in runs[:NAMED])}" if runs else ""


def _newest_run() -> str:
    """A sentence on the run that was begun or gone on with last; nothing where there are none."""
    runs = _runs_of(Path("outputs"))
    return f" The newest run here is {runs[0]}." if runs else ""


def _runs_of(folder: Path) -> list[Path]:
    """The runs up to three folders below one, the newest first."""
    found = (path for depth in ("*", "*/*", "*/*/*") for path in folder.glob(f"{depth}/{RUN_CONFIG}"))
    configs = (path for path in found if path.parent.name != ".hydra")
    return [path.parent for path in sorted(configs, key=lambda path: path.stat().st_mtime, reverse=True)]
