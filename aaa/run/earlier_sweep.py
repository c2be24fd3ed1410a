"""The sweep that a command goes on with: found before torch is loaded."""

from pathlib import Path

from aaa.config.overrides import value_of, wants_sweep
from aaa.tracking.recorded_overrides import MULTIRUN, overrides_of_sweep, own_overrides

SAME_SWEEP = "the same command with sweep.resume=true"  # how a sweep is gone on with


def asks_to_go_on(arguments: list[str]) -> bool:
    """Whether the arguments are of a sweep that is to go on with an earlier one, if there is one.

    One that Optuna leads goes on with its study in any case, in a new folder (see `say_how_a_study_goes_on`).
    """
    asked = wants_sweep(arguments) and value_of(arguments, "sweep.resume") is True
    return asked and value_of(arguments, "sweep") != "optuna"


def earlier_sweep(arguments: list[str]) -> Path | None:
    """The newest folder of a sweep with the very same overrides, or None if there is none, or it is not wanted."""
    if not asks_to_go_on(arguments):
        return None
    wanted = own_overrides(arguments)
    if chosen := value_of(arguments, "hydra.sweep.dir"):
        folder = Path(str(chosen)).absolute()
        return folder if own_overrides(overrides_of_sweep(folder)) == wanted else None
    found = sorted(Path("outputs").glob(f"**/{MULTIRUN}"), key=lambda path: path.stat().st_mtime, reverse=True)
    return next(
        (path.parent.absolute() for path in found if own_overrides(overrides_of_sweep(path.parent)) == wanted), None
    )
