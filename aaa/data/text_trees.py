"""Captions in a folder of their own, beside the one of pictures: `images/CLASS/a.jpg` and `text/CLASS/a.txt`."""

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from aaa.data.endings import is_caption, is_picture, same_letters, without_suffix
from aaa.data.folder_picture import FolderPicture
from aaa.data.texts import read_caption
from aaa.errors import UserError

logger = logging.getLogger(__name__)

MOST = 0.9
LOOKED_AT = 100  # texts that must read like sentences: boxes of objects lie in such folders too


def texts_elsewhere(root: Path, files: Sequence[str]) -> dict[str, str]:
    """The text of each picture that has one of the same name in another folder: in one that is called as the picture's
    own where there are several, else the first. Nothing if they do not read like captions.

    Args:
        root: the data folder.
        files: names of the files in it.
    """
    texts: dict[str, list[str]] = defaultdict(list)
    for text in filter(is_caption, files):
        texts[_stem(text)].append(text)
    pictures: dict[str, list[str]] = defaultdict(list)
    for picture in filter(is_picture, files):
        pictures[_stem(picture)].append(picture)
    found = {picture: text for stem in texts for picture, text in _pairs(pictures.get(stem, []), texts[stem])}
    read = [_readable(root / text) for text in list(found.values())[:LOOKED_AT]]
    return found if all(text is None or _is_sentence(text) for text in read) else {}


def pictures_with_texts_elsewhere(root: Path, texts: Mapping[str, str]) -> Iterator[FolderPicture]:
    """Pictures with the captions in those texts: if nearly all have as many lines, and several, each line is a caption.

    Args:
        root: the data folder.
        texts: by picture.
    """
    pictures: list[FolderPicture] = []
    for picture, text in texts.items():
        key = picture.removeprefix("images/")
        try:
            pictures.append(FolderPicture(key, picture, picture, text, {read_caption(root / text): 1.0}))
        except UserError as error:
            pictures.append(FolderPicture(key, picture, picture, text, problem=str(error)))
    counts = Counter(len(_lines(prompt)) for picture in pictures for prompt in picture.prompts)
    ((lines, alike),) = counts.most_common(1) or [(0, 0)]
    several = lines > 1 and alike >= MOST * counts.total()
    first, text = next(iter(texts.items()))
    what = "each of its lines is a caption" if several else "it is the caption"
    logger.info("%s: captions lie in another folder than pictures: %s is of %s, and %s.", root, text, first, what)
    for one in pictures:
        for prompt in list(one.prompts) if several else ():
            del one.prompts[prompt]
            one.prompts.update(dict.fromkeys(_lines(prompt), 1.0))
        yield one


def _pairs(pictures: Sequence[str], texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Pictures of one name with their texts; a picture that may have several texts, or a text several pictures, where
    no folder tells them apart, is none of them."""
    for picture in pictures:
        near = [text for text in texts if _folder(text) == _folder(picture)]
        if near or len(pictures) == 1:
            yield picture, (near or texts)[0]


def _stem(file: str) -> str:
    return same_letters(without_suffix(file.rpartition("/")[2]))


def _folder(file: str) -> str:
    return file.rpartition("/")[0].rpartition("/")[2]


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _readable(text: Path) -> str | None:
    try:
        return read_caption(text)
    except UserError:
        return None


def _is_sentence(text: str) -> bool:
    """Whether most of the words of a text have letters; nothing at all is no sentence, but no numbers either."""
    words = [word for word in re.split(r"[\s,;]+", text) if word]
    return 2 * sum(any(map(str.isalpha, word)) for word in words) >= len(words)
