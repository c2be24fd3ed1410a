"""Which column of a table is which: as the config says, else the first of the names that data sets use."""

import logging
import re
from collections.abc import Sequence

from aaa.data.endings import shown
from aaa.errors import UserError, nearest

logger = logging.getLogger(__name__)

# In the order in which they are looked for: ours, Hugging Face's, and what other tools write.
IMAGE_COLUMNS: tuple[str, ...] = ("image", "file_name", "filename", "image_path", "image_file", "image_file_name")
IMAGE_COLUMNS += ("image_name", "file", "file_path", "filepath", "path", "img", "img_path", "picture", "images")
PROMPT_COLUMNS = ("prompt", "text", "caption", "captions", "prompts", "texts", "description", "sentences")


def column_of(wanted: str | None, present: Sequence[str], where: str, key: str, names: Sequence[str]) -> str:
    """The column that the config names, or the first of the usual names that is there.

    Args:
        wanted: by the config, or None.
        present: columns that there are.
        where: the table, for messages.
        key: of the config, for messages.
        names: the usual ones, in small letters.

    Raises:
        UserError: naming the columns that there are, if none of them is it.
    """
    if wanted is not None:
        if wanted in present:
            return wanted
        raise UserError(missing(repr(wanted), present, where, key, [wanted]))
    found = usual_columns(present, names)
    if not found:
        wanted = f"{names[0]!r} (nor {', '.join(names[1:])})"
        raise UserError(missing(wanted, present, where, key, names))
    if len(found) > 1:
        logger.warning(
            "%s: the columns %s may all be meant by %s; %r is taken. %s=%s takes another.",
            where,
            ", ".join(found),
            key,
            found[0],
            key,
            found[1],
        )
    return found[0]


def usual_columns(present: Sequence[str], names: Sequence[str]) -> list[str]:
    """The columns that have one of these names, in the order of the names: `Image Path` is `image_path`."""
    return [column for name in names for column in present if re.sub(r"[\s-]+", "_", column.strip().lower()) == name]


def missing(wanted: str, present: Sequence[str], where: str, key: str, names: Sequence[str]) -> str:
    """The message that there is no such column.

    Args:
        wanted: in words.
        present, where, key: as `column_of` takes them.
        names: of what is wanted, for a column that may be one of them misspelt.
    """
    there = ", ".join(shown(column) for column in present) or "none"
    misspelt = next(filter(None, (nearest(name, list(present)) for name in names)), "")
    urls = any(column.strip().lower().endswith("url") for column in present)
    links = " Pictures behind a URL are not fetched; img2dataset does that." if urls else ""
    return f"{where}: no column {wanted}; there is: {there}{misspelt}. Set {key}=NAME.{links}"
