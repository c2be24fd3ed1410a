"""The words that a model was trained on, kept beside it where its text encoder knows no others."""

from collections.abc import Collection, Iterable
from pathlib import Path

from aaa.errors import nearest

WORDS = "words.txt"
GUESSED = 4  # letters of a word at least: of a shorter one half of the letters make another near it


def write_words(folder: Path, words: Collection[str]) -> None:
    """Into a model/ folder, one a line."""
    (folder / WORDS).write_text("".join(f"{word}\n" for word in sorted(words)), encoding="utf-8")


def read_words(folder: Path) -> frozenset[str] | None:
    """Of a model/ folder; None if it says nothing of them."""
    path = folder / WORDS
    return frozenset(path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]) if path.is_file() else None


def told_unknown(words: Iterable[str], known: Collection[str]) -> str | None:
    """A sentence on words that are not known, with what may have been meant; None if all are, but for punctuation."""
    unknown = [word for word in dict.fromkeys(words) if word not in known and any(map(str.isalnum, word))]
    if not unknown:
        return None
    told = ", ".join(f"'{word}'{nearest(word, sorted(known)) if len(word) >= GUESSED else ''}" for word in unknown)
    return f"The model was never shown {told}: what it makes of such words is chance."
