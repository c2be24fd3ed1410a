"""What a folder is read as where another kind of data than that was asked for."""

from collections.abc import Sequence
from pathlib import Path

from aaa.data.endings import is_picture, suffix

PICTURES = "data=imagefolder data.root="
KINDS = {
    ".tar": "data=webdataset data.path=",
    ".parquet": "data=huggingface data.path=",
    ".arrow": "data=huggingface data.path=",
}


def other_kind(root: Path, files: Sequence[str]) -> str:
    """A sentence, with a blank before it, that says what to give instead; nothing where no kind of data is there.

    Args:
        root: the data folder.
        files: names of the files in it, none of which are of the kind that was asked for.
    """
    endings = {suffix(file) for file in files}
    kind = PICTURES if any(map(is_picture, files)) else next((KINDS[e] for e in KINDS if e in endings), None)
    return "" if kind is None else f" Such files are read by {kind}{root}"
