"""What a source of training data gives: records of a picture and its prompt."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from PIL import Image

Split = Literal["train", "validation"]


@dataclass(frozen=True)
class Record:
    """One picture with its prompt.

    Attributes:
        key: names the record within its source; never changes for the same record.
        prompt: what the picture shows; may be empty.
        load: reads or draws the picture, RGB; raises UserError that says what is wrong with it.
        split: where the source wants the record, or None to leave that to `data.validation_fraction`.
        path: the file that `load` reads, if it reads one; a change of its content makes another latent cache.
        prompts: all that the picture may come with, `prompt` first, and how often relative to each other; None for
            `prompt` alone.
        digest: hash of the picture's content, where it lies in a file with others; raises UserError if that cannot be
            read. None: what tells it from others is its path, or its key and all files of the source.
    """

    key: str
    prompt: str
    load: Callable[[], Image.Image]
    split: Split | None = None
    path: Path | None = None
    prompts: Mapping[str, float] | None = None
    digest: Callable[[], str] | None = None


class Source(Protocol):
    """A data set: any class with these two methods, named by `_target_` in a file under conf/data/.

    A source whose records share files (a tar, a table with the pictures in it) names them in an attribute `files`, a
    list of paths, so that a change of them makes another latent cache.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Record: ...
