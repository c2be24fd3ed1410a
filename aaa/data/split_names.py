"""Which records a data set itself holds out, told by the names that hubs give to splits.

The names are those of huggingface.co/docs/hub/datasets-file-names-and-splits.
"""

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Literal

from aaa.data.endings import shown, without_suffix
from aaa.data.records import Split

logger = logging.getLogger(__name__)

TRAINED = frozenset({"train", "training", "restval"})  # the last of Karpathy's splits of COCO
HELD_OUT = frozenset({"validation", "valid", "val", "dev", "test", "testing", "eval", "evaluation"})
HELD_OUT |= frozenset({"holdout", "heldout"})
# Words that say no more of a folder than that it holds data: `test_images` lies beside `train`.
PLAIN = frozenset({"image", "images", "img", "imgs", "picture", "pictures", "photos", "data", "dataset", "set"})
PLAIN |= frozenset({"split", "files", "samples", "jpg", "jpeg", "png"})
Named = Split | Literal["unknown"]


def split_of_word(name: str) -> Named:
    """What a folder or split of exactly this name is; numbers behind it, as in `val2017`, count for nothing."""
    word = re.sub(r"[-_. ]?\d*$", "", _one_word(name))
    if word in TRAINED:
        return "train"
    return "validation" if word in HELD_OUT else "unknown"


def split_of_name(name: str) -> Named:
    """What a file or split is with one of the words anywhere in its name: `train-00000-of-00002`, `my_val.tar`.

    A name with words of both is of an unknown split.
    """
    found = {split_of_word(word) for word in split_words(name)}
    return found.pop() if len(found) == 1 else "unknown"


def split_of_table(table: str) -> Named:
    """What a table is called: `captions_val2017.json`, or `val/captions.csv`."""
    folder, _, own = table.rpartition("/")
    return split_of_name(words_of(own)) if split_words(words_of(own)) else split_of_word(folder.rpartition("/")[2])


def split_of_folders(path: str) -> Named:
    """What the folders of a path are called: `train2017/` or `images/val/`; unknown if they say nothing, or both."""
    found = {split_of_word(folder) for folder in path.split("/") if folder} - {"unknown"}
    return found.pop() if len(found) == 1 else "unknown"


def may_be_of(one: Named, other: Named) -> bool:
    """Whether what is of one split may be of another too, as of one that is not known."""
    return "unknown" in (one, other) or one == other


def words_of(name: str) -> str:
    """A file's own name with its words apart: `Flickr_8k.dev_Images`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", without_suffix(name))


def split_words(name: str) -> list[str]:
    """The words in a name that splits are called by."""
    words = re.split(r"[-._ 0-9/]+", _one_word(name))
    return [word for word in words if word in TRAINED | HELD_OUT]


def _one_word(name: str) -> str:
    name = re.sub(r"(?<=[a-z])(?=[A-Z]($|[^A-Za-z]))", "_", name.strip())  # trainA
    return re.sub(r"(held|hold)[-_ ]out", "holdout", name.lower())


def split_folders(files: Iterable[str]) -> dict[str, Named]:
    """Folders that are splits, wherever they lie: called as one, and with both `train` and one that is held out
    among the folders beside them that are called alike (`train_images` and `val_images`). A folder of trains is none.

    Args:
        files: names of pictures with `/`.
    """
    beside: dict[tuple[str, str], dict[str, Named]] = {}
    for folder in {file.rpartition("/")[0] for file in files}:
        while folder:
            above, _, name = folder.rpartition("/")
            split, rest = _split_and_rest(name)
            beside.setdefault((above, rest), {})[folder] = split
            folder = above
    found: dict[str, Named] = {}
    for (_, rest), folders in beside.items():
        known = {folder: split for folder, split in folders.items() if split != "unknown"}
        if len(set(known.values())) == 2:
            found |= known
        elif not rest and "validation" in known.values():
            logger.warning(
                "%s: folders of this name are held out only beside one called train; here they are trained on.",
                _listed(known),
            )
    return found


def _split_and_rest(name: str) -> tuple[Named, str]:
    """What a folder is by the first or the last word of its name, and the other words: `val_images`, `my-test`."""
    words = re.split(r"[-_. ]+", re.sub(r"^\d+[-_. ]+|[-_. ]?\d*$", "", _one_word(name)))
    for at in (0, -1):
        if (split := split_of_word(words[at])) != "unknown":
            rest = words[1:] if at == 0 else words[:-1]
            return split, " ".join(word for word in rest if word not in PLAIN)
    return "unknown", name


def part_of(file: str, folders: Mapping[str, Named]) -> str:
    """The split that a file lies in, the topmost one, or else its first folder; `.` where it lies in none."""
    parts = file.split("/")[:-1]
    above = ("/".join(parts[:count]) for count in range(1, len(parts) + 1))
    return next((folder for folder in above if folder in folders), parts[0] if parts else ".")


def settle_splits(named: Mapping[str, Named], where: object, what: str) -> dict[str, Split | None]:
    """Where the records of each part of a data set belong, given what their names say.

    Nothing is decided by names unless some are held out and some are not: a data set that is all training, or all
    validation, is divided by `data.validation_fraction`. Beside parts that are held out, one of an unknown name is
    trained on, and that is said.

    Args:
        named: what each part's name says.
        where: the data set, for messages.
        what: a plural for the parts: `splits`.
    """
    held_out = [name for name, split in named.items() if split == "validation"]
    if not held_out or len(held_out) == len(named):
        if held_out:
            logger.warning(
                "%s: %s %s, and nothing to train on beside them: data.validation_fraction of them is held out.",
                where,
                what,
                _listed(held_out),
            )
        return dict.fromkeys(named)
    logger.info("%s: held out by name: %s.", where, _listed(held_out))
    unknown = [name for name, split in named.items() if split == "unknown"]
    if unknown:
        logger.warning(
            "%s: %s %s have no name that says whether to train on them; they are trained on. "
            "Held out are names such as validation, val, dev, test.",
            where,
            what,
            _listed(unknown),
        )
    return {name: "validation" if split == "validation" else "train" for name, split in named.items()}


def _listed(names: Iterable[str]) -> str:
    listed = [shown(name) for name in names]
    more = f" and {len(listed) - 5} more" if len(listed) > 5 else ""
    return ", ".join(listed[:5]) + more
