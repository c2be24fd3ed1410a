"""Copies of run folders, which hold what a tracker knows the original by."""

from pathlib import Path
from typing import TYPE_CHECKING

from aaa.tracking.files import kept_text

if TYPE_CHECKING:
    from aaa.tracking.tracker import RunInfo


def copied_from(run: "RunInfo", identity: str) -> Path | None:
    """The folder that a resumed run's was copied from, if it is still there; None if it was not copied, or moved.

    Args:
        run: that goes on.
        identity: name of the file in run folders in which a tracker's name for the run is kept.
    """
    sessions = run.environment.get("earlier") or []
    before = sessions[-1].get("output_dir") if sessions else None
    kept = kept_text(run.folder / identity)
    if before is None or kept is None or kept_text(Path(before) / identity) != kept:
        return None
    return None if Path(before).samefile(run.folder) else Path(before)
