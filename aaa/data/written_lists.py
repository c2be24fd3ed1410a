"""Lists of captions that a table without types holds as text: `['a cat', 'a pet']`, as pandas writes them into CSV."""

import ast
import json
import logging
import re
from collections.abc import Sequence
from typing import Any

logger = logging.getLogger(__name__)


def read_written_lists(rows: Sequence[dict[str, Any]], column: str, where: str) -> None:
    """Put lists in place of their texts, where all that a column holds are such texts: else brackets are brackets.

    Args:
        rows: values by column, which are changed.
        column: of captions.
        where: the table, for the message.
    """
    found: list[tuple[dict[str, Any], list[str]]] = []
    for row in rows:
        if not (text := row.get(column) or ""):
            continue
        if (captions := written_list(text)) is None:
            return
        found.append((row, captions))
    if found:
        logger.info("%s: the column %r holds lists that are written as text; each is several captions.", where, column)
    for row, captions in found:
        row[column] = captions


def written_list(text: str) -> list[str] | None:
    """The texts in a list as JSON, Python or NumPy write it, or None if it is none."""
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        try:
            found = ast.literal_eval(re.sub(r"""(?<=['"])\s+(?=['"])""", ", ", text))  # NumPy writes no commas
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None
    return found if isinstance(found, list) and all(isinstance(caption, str) for caption in found) else None
