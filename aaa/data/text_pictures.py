"""Pictures with their prompts in text files beside them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from aaa.data.endings import CAPTION_SUFFIXES, is_caption, is_document, is_picture, same_letters, suffix, without_suffix
from aaa.data.folder_picture import FolderPicture
from aaa.data.left_out import LeftOut
from aaa.data.texts import read_caption
from aaa.errors import UserError


def captioned_pictures(root: Path, files: Sequence[str], left_out: LeftOut) -> Iterator[FolderPicture]:
    """Pictures with a text file beside them: `a.txt`, `a.caption` or `a.text`, or the same after `a.png`.

    Args:
        root: the data folder.
        files: names of the files that no table speaks for.
        left_out: counts pictures without a caption, captions without a picture, and second captions.
    """
    texts: dict[str, list[str]] = {}
    for text in sorted((file for file in files if is_caption(file)), key=_precedence):
        texts.setdefault(same_letters(without_suffix(text)), []).append(text)
    read: set[str] = set()
    others: dict[str, str] = {}
    for file in filter(is_picture, files):
        beside = texts.get(same_letters(without_suffix(file)), []) + texts.get(same_letters(file), [])
        if not beside:
            left_out.add("pictures without a caption", file)
            continue
        read.add(beside[0])
        others |= dict.fromkeys(beside[1:], beside[0])
        yield captioned(root, file, beside[0])
    for text in (text for group in texts.values() for text in group if text not in read):
        if text in others:
            left_out.add("captions of a picture that has another one, which is read", text)
        elif is_document(text):
            left_out.add_no_data("documents", text)
        else:
            left_out.add("captions without a picture", text)


def has_captions_beside(files: Sequence[str]) -> bool:
    """Whether any of these pictures has a text file beside it."""
    texts = {same_letters(without_suffix(file)) for file in files if is_caption(file)}
    pictures = filter(is_picture, files)
    return any(same_letters(without_suffix(file)) in texts or same_letters(file) in texts for file in pictures)


def _precedence(text: str) -> tuple[int, bool, str]:
    return CAPTION_SUFFIXES.index(suffix(text)), text != without_suffix(text) + suffix(text), text


def captioned(root: Path, file: str, text: str) -> FolderPicture:
    """A picture with the caption in a text file, or what is wrong with that."""
    key = file.removeprefix("images/")
    try:
        return FolderPicture(key, file, file, text, {read_caption(root / text): 1.0})
    except UserError as error:
        return FolderPicture(key, file, file, text, problem=str(error))
