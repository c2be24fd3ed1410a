"""Where a picture of a report is written."""

from pathlib import Path

from aaa.errors import UserError

DEFAULT = ".png"


def picture_file(option: str, path: Path) -> Path:
    """The file that a picture is written into: a PNG unless the path ends in another kind's name.

    Args:
        option: of the command, that gave the path.
        path: as given.

    Raises:
        UserError: if no picture of that kind can be written.
    """
    from matplotlib.backend_bases import FigureCanvasBase

    kinds = sorted(f".{kind}" for kind in FigureCanvasBase.get_supported_filetypes())
    if not path.suffix:
        return path.with_name(f"{path.name}{DEFAULT}")
    if path.suffix.lower() not in kinds:
        raise UserError(f"{option} {path}: pictures are written as {', '.join(kinds)}; {path.suffix} is none of them.")
    return path
