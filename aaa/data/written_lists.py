"""Lists of captions that a table without types holds as text: `['a cat', 'a pet']`, as pandas writes them into CSV."""

import ast
import io
import json
import logging
import tokenize
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
        found = _texts_in_brackets(text)
    return found if isinstance(found, list) and all(isinstance(caption, str) for caption in found) else None


def _texts_in_brackets(text: str) -> list[Any] | None:
    """Each literal of a list, whether there are commas between them or, as NumPy writes it, none."""
    literals = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.STRING:
                literals.append(ast.literal_eval(token.string))
            elif token.string.strip() not in ("", "[", "]", ",") or (token.string == "[" and token.start != (1, 0)):
                return None
    except (tokenize.TokenError, ValueError, SyntaxError, MemoryError):
        return None
    return literals
