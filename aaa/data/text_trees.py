"""Captions in a folder of their own, beside the one of pictures: `images/CLASS/a.jpg` and `text/CLASS/a.txt`."""

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from aaa.data.endings import is_caption, is_picture, same_letters, shown, without_suffix
from aaa.data.folder_picture import FolderPicture
from aaa.data.split_names import may_be_of, split_of_folders
from aaa.data.text_pictures import captioned
from aaa.errors import UserError

logger = logging.getLogger(__name__)

MOST = 0.9
LOOKED_AT = 100  # texts that must read like sentences: boxes of objects lie in such folders too


def pictures_with_texts_elsewhere(root: Path, files: Sequence[str]) -> list[FolderPicture]:
    """Pictures with a text of the same name in another folder; none if the texts do not read like captions. If nearly
    all have as many lines, and several, each line is a caption.

    Args:
        root: the data folder.
        files: names of the files in it.

    Raises:
        UserError: if a picture has several texts.
    """
    by_stem: dict[str, list[str]] = defaultdict(list)
    for picture in filter(is_picture, files):
        by_stem[_stem(picture)].append(picture)
    texts: dict[str, str] = {}
    spoken = [*filter(is_caption, files)]
    in_folders = any(_folder(text) == _folder(picture) for text in spoken for picture in by_stem.get(_stem(text), ()))
    for text in spoken:
        if (of := _picture_of(text, by_stem.get(_stem(text), []), in_folders)) is None:
            continue
        if (other := texts.setdefault(of, text)) != text:
            both = f"{shown(other)} and {shown(text)}"
            raise UserError(
                f"{root}: {shown(of)} has several texts, {both}. Lay those elsewhere that are not to be read."
            )
    pictures: list[FolderPicture] = []
    for picture, text in texts.items():
        one = captioned(root, picture, text)
        if len(pictures) < LOOKED_AT and not all(map(_is_sentence, one.prompts)):
            return []
        pictures.append(one)
    counts = Counter(len(_lines(prompt)) for picture in pictures for prompt in picture.prompts)
    ((lines, alike),) = counts.most_common(1) or [(0, 0)]
    several = lines > 1 and alike >= MOST * counts.total()
    for one in pictures:
        for prompt in list(one.prompts) if several else ():
            del one.prompts[prompt]
            one.prompts.update(dict.fromkeys(_lines(prompt), 1.0))
    if pictures:
        logger.info(
            "%s: captions lie in another folder than pictures: %s is of %s, and %s.",
            root,
            pictures[0].place,
            pictures[0].file,
            "each of its lines is a caption" if several else "it is the caption",
        )
    return pictures


def _picture_of(text: str, pictures: Sequence[str], in_folders: bool) -> str | None:
    """The picture of a text: where any are, the one whose folder is called as the text's own, never one of another
    split, and of several of these the one below `images`, since masks and outlines have the names of what they are of;
    else none."""
    if in_folders:
        near = [picture for picture in pictures if _folder(picture) == _folder(text)]
    else:
        split = split_of_folders(text.rpartition("/")[0])
        near = [one for one in pictures if may_be_of(split_of_folders(one.rpartition("/")[0]), split)]
    if len(near) > 1:
        near = [picture for picture in near if "images" in picture.lower().split("/")[:-1]]
    return near[0] if len(near) == 1 else None


def _stem(file: str) -> str:
    return same_letters(without_suffix(file.rpartition("/")[2]))


def _folder(file: str) -> str:
    return file.rpartition("/")[0].rpartition("/")[2]


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _is_sentence(text: str) -> bool:
    """Whether most of the words of a text have letters; nothing at all is no sentence, but no numbers either."""
    words = [word for word in re.split(r"[\s,;]+", text) if word]
    return 2 * sum(any(map(str.isalpha, word)) for word in words) >= len(words)
