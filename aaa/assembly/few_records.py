"""Some records of a source in place of all of them."""

from collections.abc import Collection
from pathlib import Path

from aaa.data.records import Record, Source


class FewRecords:
    """So many records of a source, spread evenly over all, so that those it holds out are among them as often.

    Args:
        source: of all.
        most: how many; all where there are no more.
    """

    def __init__(self, source: Source, most: int) -> None:
        self.source, self.most = source, most

    @property
    def files(self) -> Collection[Path]:
        """Those that records of the source share; see `Source`."""
        shared: Collection[Path] = getattr(self.source, "files", ())
        return shared

    def __len__(self) -> int:
        return min(self.most, len(self.source))

    def __getitem__(self, index: int) -> Record:
        return self.source[self.place(index)]

    def place(self, index: int) -> int:
        """The number that one of them has among all of the source."""
        return index * len(self.source) // len(self)
