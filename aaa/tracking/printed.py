"""What is shown to people: texts that others wrote made harmless, and commands that can be pasted as they stand."""

import io
import os
import re
import shlex
import sys
import unicodedata
from contextlib import suppress
from pathlib import Path

# Joiners that are part of letters in many scripts, and of emoji.
JOINERS = "\u200c\u200d"
CONTROLS = ("Cc", "Cf", "Cs", "Zl", "Zp")


def print_anything() -> None:
    """Let no letter end a command because the terminal has none like it: it is written as its number instead."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed before the command began: then nobody wants to read it
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - as long as the process
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            with suppress(OSError):  # a stream that was exchanged for one of another kind stays as it is
                stream.reconfigure(errors="backslashreplace")


def harmless(text: str, keep: str = "\n\t") -> str:
    """A text without what would make a terminal do or show something else: escapes, other controls, reversals.

    Args:
        text: of any characters.
        keep: controls that stay; other white space becomes a blank.
    """
    return "".join(
        letter
        if letter in keep or letter in JOINERS or unicodedata.category(letter) not in CONTROLS
        else " "
        if letter.isspace()
        else ""
        for letter in text
    )


def one_line(text: str) -> str:
    """The same on one line, without blanks at its ends."""
    return re.sub(r" {2,}", " ", harmless(text, keep="")).strip()


def markdown(text: str) -> str:
    """A text as Markdown shows it as it is, in a heading or a table too."""
    return re.sub(r"([\\`*\[\]<>|&~]|(?<!\w)_|_(?!\w))", r"\\\1", one_line(text))


def plot_label(text: str) -> str:
    """A text as matplotlib shows it as it is: without mathematics, and not hidden for a first letter `_`."""
    return re.sub(r"^_", "\u200b_", one_line(text)).replace("$", r"\$")


def shown(folder: Path) -> Path:
    """The path as messages show it: relative where that is shorter."""
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def command(*words: str) -> str:
    """A command that bash and zsh read as these words; on Windows its shells."""
    quoted = _word_of_windows if sys.platform == "win32" else _word
    return " ".join(map(quoted, words))


def _word(word: str) -> str:
    """One word of a command; with controls in it, in the only quotes that keep it on one line."""
    if harmless(word, keep="") == word:
        return shlex.quote(word)
    escaped = (
        letter
        if harmless(letter, keep="") == letter and letter not in "\\'"
        else f"\\{letter}"
        if letter in "\\'"
        else "".join(f"\\x{byte:02x}" for byte in os.fsencode(letter))
        for letter in word
    )
    return f"$'{''.join(escaped)}'"


def _word_of_windows(word: str) -> str:
    """The same there, where only double quotes hold a word together, and backslashes before one are doubled."""
    word = one_line(word)
    if re.fullmatch(r"[\w@+=:,./\\-]+", word):
        return word
    inner = re.sub(r'(\\*)"', r'\1\1\\"', word)
    return '"' + re.sub(r"(\\+)$", r"\1\1", inner) + '"'
