"""What a WebDataset shard holds: samples, put together by name whatever their order, and where their pictures lie."""

import json
import tarfile
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from aaa.data.endings import CAPTION_SUFFIXES, is_document, is_hidden, picture_suffixes, same_letters
from aaa.data.folders import why_unreadable
from aaa.data.left_out import LeftOut
from aaa.data.texts import MAX_CAPTION_BYTES, decode_caption
from aaa.errors import UserError

COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ": "xz", b"BZh": "bzip2", b"PK": "zip"}
ZEROS = 2**20  # bytes that are looked through at once


@dataclass
class Sample:
    """What a shard holds under one name.

    Attributes:
        name: the folder and the file's name up to its first dot.
        pictures: by ending (`.jpg`, `.mask.png`), offset and bytes of each.
        texts: by column: `txt` for `0001.txt`, every key of `0001.json`.
        problem: what is wrong with it, or None.
    """

    name: str
    pictures: dict[str, tuple[int, int]] = field(default_factory=dict)
    texts: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None


def samples_of(shard: Path, called: str, more_texts: Collection[str], left_out: LeftOut) -> list[Sample]:
    """Samples of a shard, in the order in which their first file comes. Only texts and places are kept.

    Args:
        shard: the file.
        called: its name, for messages.
        more_texts: endings, without their first dot, that are read as texts besides the usual ones.
        left_out: counts files that are of no sample.

    Raises:
        UserError: if it is not a whole tar file.
    """
    samples: dict[tuple[str, int], Sample] = {}
    times: Counter[tuple[str, str]] = Counter()
    for tar, member in _members(shard, called, left_out):
        parts = [part for part in member.name.split("/") if part not in ("", ".")]
        if not parts or not _belongs(member, parts, f"{called}/{member.name}", more_texts, left_out):
            continue
        stem, _, ending = parts[-1].partition(".")
        name = same_letters("/".join([*parts[:-1], stem]))
        first_part, ending = member.name[: len(member.name) - len(ending) - 1], ending.lower()
        again = times[name, ending]  # of several files of one name the first is of the first sample of that name
        times[name, ending] += 1
        sample = samples.setdefault((name, again), Sample(first_part))
        if (problem := _add(sample, f".{ending}", member, tar, more_texts)) is not None:
            if "." not in ending:
                sample.problem = problem
            elif ending.endswith(".json"):  # boxes, key points: most of it holds no caption
                _leave_unread(f"{called}/{member.name}", left_out)
            else:  # one of several texts, and perhaps none that anybody asks for
                left_out.add("further files of a sample that cannot be read", f"{called}/{member.name}")
    kept = _without_repeats(samples, called, left_out)
    for sample in kept:
        _drop_foreign(sample, called, left_out)
    filled = [sample for sample in kept if sample.pictures or sample.texts or sample.problem]
    return [one for sample in filled for one in _taken_apart(sample)]


def _members(shard: Path, called: str, left_out: LeftOut) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Files and other things in a tar, and in those that `cat` put behind it.

    Raises:
        UserError: if it is not a whole tar file.
    """
    if (problem := why_unreadable(shard)) is not None:
        raise UserError(f"{shard}: {problem}.")
    with shard.open("rb") as whole:
        start: int | None = 0
        while start is not None:
            whole.seek(start)
            try:
                with tarfile.open(fileobj=whole, mode="r:") as tar:
                    for member in tar:
                        yield tar, member
                    end = tar.offset
            except (tarfile.TarError, EOFError) as error:
                raise UserError(f"{shard}: {_why_no_tar(whole, error)}") from None
            if start and end == start:
                left_out.add("shards that go on after their end with something else", called)
                return
            start = _next_tar(whole, end)
            if start == end:  # tarfile takes a tar that stops between two files for a whole one
                raise UserError(f"{shard}: the tar file is cut short. Is the download or copy complete?")


def _why_no_tar(whole: BinaryIO, error: Exception) -> str:
    whole.seek(0)
    beginning = whole.read(8)
    packed = next((kind for start, kind in COMPRESSED.items() if beginning.startswith(start)), None)
    if packed is not None:
        return f"compressed by {packed}, but read in place; unpack it to a plain .tar."
    return f"not a whole tar file ({error}). Is the download or copy complete?"


def _next_tar(whole: BinaryIO, end: int) -> int | None:
    """Where something else begins behind the zeros that end a tar; None if it is the file's end.

    Args:
        whole: the file.
        end: where the zeros should begin; it is given back if they do not.
    """
    whole.seek(end)
    at = end
    while block := whole.read(ZEROS):
        if block.strip(b"\0"):
            first = next(number for number, byte in enumerate(block) if byte)
            return at + first // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE
        at += len(block)
    return None if at - end >= tarfile.BLOCKSIZE else end


def _belongs(
    member: tarfile.TarInfo, parts: list[str], place: str, more_texts: Collection[str], left_out: LeftOut
) -> bool:
    """Whether something in a tar is a file of a sample; if not, it is counted."""
    if member.isdir():
        return False
    if any(is_hidden(part) for part in parts if part != ".."):
        left_out.add_no_data("hidden, or left by a system", place)
        return False
    if not member.isreg():
        left_out.add("links and devices in a shard, which are not followed", place)
        return False
    ending = parts[-1].partition(".")[2].lower()
    last = f".{ending.rpartition('.')[2]}"
    if last in picture_suffixes() or last in CAPTION_SUFFIXES or last == ".json" or ending in more_texts:
        return True
    _leave_unread(place, left_out)
    return False


def _leave_unread(place: str, left_out: LeftOut) -> None:
    if is_document(place):
        left_out.add_no_data("documents", place)
    else:
        left_out.add("endings that are not read", place)


def _add(
    sample: Sample, ending: str, member: tarfile.TarInfo, tar: tarfile.TarFile, more_texts: Collection[str]
) -> str | None:
    """Add a file to its sample, or say what is wrong with it. JSON that is asked for by its whole ending is a text."""
    if f".{ending.rpartition('.')[2]}" in picture_suffixes():
        sample.pictures[ending] = (member.offset_data, member.size)
        return f"has a {ending} with holes in it, which cannot be read in place" if member.issparse() else None
    if member.size > MAX_CAPTION_BYTES:
        return f"has a {ending} of {member.size} bytes, more than any caption"
    content = tar.extractfile(member)
    assert content is not None
    is_json = ending == ".json" or (ending.endswith(".json") and ending[1:] not in more_texts)
    try:
        text = decode_caption(content.read())
        value = json.loads(text) if is_json else text
    except (UserError, ValueError, RecursionError) as error:
        return f"has a {ending} that cannot be read ({error})"
    if is_json and not isinstance(value, dict):
        return f"has a {ending} that is not an object"
    sample.texts[ending] = value
    return None


def _without_repeats(samples: dict[tuple[str, int], Sample], called: str, left_out: LeftOut) -> list[Sample]:
    """Samples whose name comes again are samples of their own if they are whole; files that come again alone replace
    the earlier ones, as they do when a tar is unpacked."""
    kept: dict[tuple[str, int], Sample] = {}
    for (name, again), sample in samples.items():
        if not again:
            kept[name, 0] = sample
        elif sample.pictures and sample.texts:
            left_out.add("samples of a name that the shard has twice, read as well", f"{called}/{sample.name}")
            sample.name = f"{sample.name} ({again + 1})"
            kept[name, again] = sample
        else:
            left_out.add("files that the same shard has again, the last of which is read", f"{called}/{sample.name}")
            first = kept[name, 0]
            first.pictures |= sample.pictures
            first.texts |= sample.texts
            first.problem = first.problem or sample.problem
    return list(kept.values())


def _drop_foreign(sample: Sample, called: str, left_out: LeftOut) -> None:
    """Leave out JSON that is not of a picture: `a.meta.json`, unless all of the sample's names have dots (`a.1.png`)
    and there is `a.meta.png`."""
    named = {ending.rpartition(".")[0] for ending in sample.pictures}
    if "" in named or any(ending.count(".") == 1 for ending in sample.texts):
        named = {""}
    for ending, text in list(sample.texts.items()):
        middle = ending.rpartition(".")[0]
        if middle and middle not in named and isinstance(text, dict):
            del sample.texts[ending]
            _leave_unread(f"{called}/{sample.name}{ending}", left_out)


def _taken_apart(sample: Sample) -> list[Sample]:
    """A sample with its texts as columns; or several where names have dots: `a.1.png` and `a.1.txt`, no `a.png`."""
    middles: dict[str, Sample] = {}
    for ending, place in sample.pictures.items():
        middle, _, last = ending.rpartition(".")
        part = middles.setdefault(middle, Sample(sample.name + middle, problem=sample.problem))
        part.pictures[f".{last}"] = place
    for ending, text in sample.texts.items():
        middle, _, last = ending.rpartition(".")
        if middle in middles:
            middles[middle].texts[f".{last}"] = text
    whole = [part for part in middles.values() if part.texts]
    if "" in middles or not whole:
        return [Sample(sample.name, sample.pictures, _columns(sample.texts), sample.problem)]
    rest = {ending: place for ending, place in sample.pictures.items() if not middles[ending.rpartition(".")[0]].texts}
    if rest:
        whole.append(Sample(sample.name, rest, sample.texts, sample.problem))
    return [Sample(part.name, part.pictures, _columns(part.texts), part.problem) for part in whole]


def _columns(texts: dict[str, Any]) -> dict[str, Any]:
    """Texts by column: endings without their first dot, and the keys of JSON that no file is called after."""
    files = {ending[1:]: text for ending, text in texts.items() if not isinstance(text, dict)}
    keys = texts.get(".json")
    return files | keys | files if isinstance(keys, dict) else files
