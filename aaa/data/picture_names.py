"""Finding the pictures that a table names among the files that are there."""

import os
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from aaa.data.endings import is_picture, same_letters, shown, without_suffix
from aaa.data.split_names import may_be_of, split_of_folders, split_of_table


class Found(NamedTuple):
    """Where a named picture is.

    Attributes:
        file: its name relative to the root, or None.
        problem: what is wrong with the name, or None.
        absent: whether nothing is wrong but that there is no such picture, nor one of other capitals or ending.
    """

    file: str | None
    problem: str | None = None
    absent: bool = False


class PictureNames:
    """The files of a data folder, to be found by the names in a table.

    Whether a name may be read is told by the name alone, before any link is followed: one that leaves the folder may
    not, one that stays within may be a link to anywhere, which whoever owns the folder has laid there.

    Args:
        root: the folder.
        files: names of the files in it, relative to it.
    """

    def __init__(self, root: Path, files: Sequence[str]) -> None:
        self.root = root
        self.files = set(files)
        self._roots = {posixpath.normpath(root.absolute().as_posix()), root.resolve().as_posix()}

    def find(self, name: str, folder: str) -> Found:
        """A picture by its name in a table.

        Args:
            name: as the table has it: relative to a folder `images` beside the table, to the table, or to the data
                folder, whichever is found first; or absolute.
            folder: of the table, relative to the root.
        """
        for place in self._folders(folder):  # as nearly all names are
            if (file := f"{place}/{name}" if place else name) in self.files:
                return Found(file)
        if "\0" in name or max(map(len, name.split("/"))) > 255 or len(name) > 4000:
            return Found(None, f"{name[:200]!r} is not a file name")
        within = [inside for written in _spellings(name) for inside in self._places(written, folder)]
        if not within:
            moved = self._moved(name, folder)
            return Found(None, moved or f"{name!r} points outside {self.root}{self._nearest([name])}")
        for file in within:
            if file in self.files:
                return Found(file)
        for file in within:  # letters with accents, in one piece or two; Windows' separators within a file's own name
            if len(same := self._by_letters.get(same_letters(file), [])) == 1:
                return Found(same[0])
        for file in within:  # hidden, so not among the files, but named
            if os.path.lexists(self.root / file):
                return Found(file)
        if not is_picture(name):  # a name without its ending
            stems = [same for file in within for same in self._by_stem.get(same_letters(file), [])]
            if len(set(stems)) == 1:
                return Found(stems[0])
            if stems:
                return Found(None, _ambiguous(name, stems))
        looked = " and ".join(str(self.root / place) for place in self._folders(folder))
        absent = not any(without_suffix(file).lower() in self._by_small_stem for file in within)
        return Found(None, f"{name!r} does not exist (looked in {looked}){self._nearest(within)}", absent)

    def find_anywhere(self, name: str, folder: str, table: str) -> Found:
        """A picture by its name in a table of others, which says nothing of where they were unpacked: the one in any
        folder whose name ends so, with or without the ending. Of several it is the one that `find` has, else the one in
        a folder that a word of the table's name is: `val2017` of `captions_val2017.json`. One in a folder of another
        split is another picture of the same name, and so is one elsewhere where the table lies among pictures.

        Args:
            name, folder: as `find` takes them.
            table: what it is called.
        """
        found = self.find(name, folder)
        if found.file or not (alike := self.all_alike(name)):
            return found
        split = split_of_table(table)
        alike = [file for file in alike if may_be_of(split_of_folders(file.removesuffix(name)), split)]
        if not alike or ("/" not in name and folder and folder in self._folders_of_pictures):
            return Found(None, found.problem, absent=True)
        if len(alike) == 1:
            return Found(alike[0])
        words = re.split(r"[^A-Za-z0-9]+", posixpath.basename(table))
        called = [file for file in alike if posixpath.basename(posixpath.dirname(file)) in words]
        return Found(called[0]) if len(called) == 1 else Found(None, _ambiguous(name, alike))

    def all_alike(self, name: str) -> list[str]:
        """The pictures in any folder whose names end so, with or without the ending."""
        end = posixpath.normpath(name.strip().replace("\\", "/"))
        whole = is_picture(end)
        same = (self._by_end if whole else self._by_end_of_stem).get(_last_two(end), [])
        return [file for file in same if f"/{file if whole else without_suffix(file)}".endswith(f"/{end}")]

    @cached_property
    def _folders_of_pictures(self) -> set[str]:
        return {posixpath.dirname(file) for file in self.files if is_picture(file)}

    def _folders(self, folder: str) -> list[str]:
        """Where the names of a table in this folder are looked for, in this order."""
        images = f"{folder}/images" if folder else "images"
        places = [images, folder] if images in self._known_folders else [folder]
        return [*places, ""] if folder else places

    def _places(self, name: str, folder: str) -> Iterator[str]:
        """Names relative to the root that this one may stand for, all of them within it."""
        if posixpath.isabs(name):
            whole = posixpath.normpath(name)
            yield from (whole[len(root) + 1 :] for root in self._roots if whole.startswith(f"{root}/"))
            return
        if re.match(r"[A-Za-z]:[/\\]", name):
            return
        for place in self._folders(folder):
            file = posixpath.normpath(posixpath.join(place, name))
            bound = f"{place}/" if place not in (folder, "") else ""  # `..` may leave a table's folder, not images/
            if file.startswith(bound) and file != ".." and not file.startswith("../"):
                yield file

    def _moved(self, name: str, folder: str) -> str | None:
        """What is wrong with an absolute name that is of another folder or machine, if its end is right here.

        Not the name but what it begins with is told, which is the same of all that were moved together.
        """
        parts = name.strip().replace("\\", "/").split("/")
        if parts[0] and not re.fullmatch(r"[A-Za-z]:", parts[0]):
            return None
        for count in range(1, len(parts)):
            rest = "/".join(parts[count:])
            if any((f"{place}/{rest}" if place else rest) in self.files for place in self._folders(folder)):
                before = "/".join([*parts[:count], ""])
                return f"has a name that begins with {before!r}, outside {self.root}; without that it is there"
        return None

    @cached_property
    def _known_folders(self) -> set[str]:
        folders: set[str] = set()
        for file in self.files:
            parent = posixpath.dirname(file)
            while parent and parent not in folders:
                folders.add(parent)
                parent = posixpath.dirname(parent)
        return folders

    @cached_property
    def _by_letters(self) -> dict[str, list[str]]:
        return _grouped((same_letters(file).replace("\\", "/"), file) for file in self.files)

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        return _grouped((same_letters(without_suffix(file)), file) for file in self.files if is_picture(file))

    @cached_property
    def _by_small_stem(self) -> dict[str, list[str]]:
        return _grouped((without_suffix(file).lower(), file) for file in self.files if is_picture(file))

    @cached_property
    def _by_end(self) -> dict[str, list[str]]:
        return _grouped((end, file) for file in self.files if is_picture(file) for end in _ends(file))

    @cached_property
    def _by_end_of_stem(self) -> dict[str, list[str]]:
        return _grouped((end, file) for file in self.files if is_picture(file) for end in _ends(without_suffix(file)))

    def _nearest(self, within: Sequence[str]) -> str:
        """A hint at the picture that may be meant: the same but for capitals, for its ending, or in another folder."""
        for file in within:
            alike = self._by_small_stem.get(without_suffix(file).lower())
            alike = alike or self._by_end.get(posixpath.basename(file).lower())
            if alike:
                return f"; there is {min(alike)!r}"
        return ""


def _spellings(name: str) -> list[str]:
    """The name as it stands, then as it may have been meant: Windows' separators, blanks around it, a URL's escapes."""
    spellings = [name, name.strip(), name.strip().replace("\\", "/"), unquote(name.strip())]
    return list(dict.fromkeys(spelling for spelling in spellings if spelling))


def _ambiguous(name: str, files: Sequence[str]) -> str:
    return f"{name!r} may be any of {', '.join(map(shown, sorted(set(files))[:3]))}"


def _last_two(name: str) -> str:
    """A file's own name in small letters, after that of its folder if it is said."""
    return "/".join(name.lower().split("/")[-2:])


def _ends(name: str) -> set[str]:
    return {_last_two(name), _last_two(name.rpartition("/")[2])}


def _grouped(pairs: Iterator[tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return groups
