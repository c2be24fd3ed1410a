"""The records of several caches as if they were of one."""

from collections.abc import Mapping
from dataclasses import replace

from aaa.data.cached_records import ArrowRecords, CachedRecord, ListedRecords, RecordsInTurn, SomeRecords


class JoinedRecords(RecordsInTurn):
    """Records of several caches, one after the other; the key of each begins with the name of what it is of.

    Args:
        parts: their records, by name.
    """

    def __init__(self, parts: "Mapping[str, Records]") -> None:
        super().__init__([_Named(name, records) for name, records in parts.items()])


Records = ArrowRecords | ListedRecords | JoinedRecords


class _Named:
    """Records whose keys have a name before them."""

    def __init__(self, name: str, records: SomeRecords) -> None:
        self._name, self._records = name, records
        self.prompt, self.shown = records.prompt, records.shown

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> CachedRecord:
        record = self._records[index]
        return replace(record, key=f"{self._name}/{record.key}")
