"""A picture of a data folder, as a table or a text file speaks of it."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class FolderPicture:
    """A picture with its prompts, or what is wrong with it.

    Attributes:
        key: names it within its data set.
        file: its name relative to the data folder, or None where none is found.
        image: its name as it was said, for messages.
        place: where it was said: `metadata.csv:17`, or the text file.
        prompts: with how often each is drawn.
        split: what a column of this name says, or None.
        problem: what is wrong with the row or the text file, or None.
    """

    key: str
    file: str | None
    image: str
    place: str
    prompts: dict[str, float] = field(default_factory=dict)
    split: str | None = None
    problem: str | None = None
