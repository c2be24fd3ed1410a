"""The records of several caches as if they were of one."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import overload

from aaa.data.cached_records import ArrowRecords, CachedRecord, ListedRecords


class JoinedRecords(Sequence[CachedRecord]):
    """Records of several caches, one after the other; the key of each begins with the name of what it is of.

    Args:
        parts: their records, by name.
    """

    def __init__(self, parts: "Mapping[str, Records]") -> None:
        self._names, self._parts = [*parts], [*parts.values()]
        self._ends = list(accumulate(map(len, self._parts)))

    def __len__(self) -> int:
        return self._ends[-1]

    @overload
    def __getitem__(self, index: int) -> CachedRecord: ...

    @overload
    def __getitem__(self, index: slice) -> list[CachedRecord]: ...

    def __getitem__(self, index: int | slice) -> CachedRecord | list[CachedRecord]:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        number, place = self._find(index)
        return self._named(number, self._parts[number][place])

    def prompt(self, index: int, number: int) -> str:
        """One of the prompts of a record."""
        part, place = self._find(index)
        return self._parts[part].prompt(place, number)

    def shown(self, index: int) -> str:
        """What tells the picture of a record from others: `picture`, or its key where that is not known."""
        part, place = self._find(index)
        return self._parts[part].shown(place)

    def _find(self, index: int) -> tuple[int, int]:
        place = range(len(self))[index]
        number = bisect_right(self._ends, place)
        return number, place - self._ends[number] + len(self._parts[number])

    def _named(self, number: int, record: CachedRecord) -> CachedRecord:
        return replace(record, key=f"{self._names[number]}/{record.key}")

    def __iter__(self) -> Iterator[CachedRecord]:
        for number, part in enumerate(self._parts):
            yield from (self._named(number, record) for record in part)


Records = ArrowRecords | ListedRecords | JoinedRecords
