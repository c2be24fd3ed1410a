"""What a latent cache knows of each record beside its tensors: an Arrow file that is mapped into memory, not read.

However many records there are, opening takes no time and processes of a machine share the pages that they look at. A
record becomes an object when somebody asks for it.
"""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol, overload

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from aaa.data.records import Split

NO_PICTURE = ""  # of records in caches of versions that did not look at pixels
SPLITS: tuple[Split | None, ...] = (None, "train", "validation")  # by the numbers that stand for them

# Texts are bytes: names of files need not be Unicode. Offsets are of 64 bits, so no text is too long.
SCHEMA = pa.schema(
    [
        ("key", pa.large_binary()),
        ("prompts", pa.large_list(pa.large_binary())),
        ("prompt_weights", pa.large_list(pa.float64())),
        ("split", pa.uint8()),
        ("flipped", pa.uint8()),
        ("picture", pa.binary(16)),
        ("key_hash", pa.uint64()),
    ]
)


@dataclass(frozen=True)
class CachedRecord:
    """What is kept of a record beside its tensors.

    Attributes:
        key, prompts, split: as its source gave them.
        flipped: whether it is the mirrored copy of the record with its key.
        prompt_weights: how often each prompt is drawn.
        picture: what tells its picture from others (`picture_digest`); None where only the key does.
    """

    key: str
    prompts: Sequence[str]
    split: Split | None
    flipped: bool = False
    prompt_weights: Sequence[float] = (1.0,)
    picture: str | None = None

    @property
    def prompt(self) -> str:
        """The first prompt: what validation and sample grids use."""
        return self.prompts[0]


def key_hash(key: str) -> bytes:
    """SHA-256 of a record's key, which orders records in a way that has nothing to do with their data set's order."""
    return hashlib.sha256(encoded(key)).digest()


def encoded(text: str) -> bytes:
    """A text as bytes, even one of which parts are no Unicode."""
    return text.encode("utf-8", "surrogatepass")


def as_batch(records: Sequence[CachedRecord]) -> pa.RecordBatch:
    """Records as rows of an Arrow file."""
    columns = [
        [encoded(record.key) for record in records],
        [[encoded(prompt) for prompt in record.prompts] for record in records],
        [list(record.prompt_weights) for record in records],
        [SPLITS.index(record.split) for record in records],
        [int(record.flipped) for record in records],
        [None if record.picture is None else bytes.fromhex(record.picture) for record in records],
        [int.from_bytes(key_hash(record.key)[:8], "big") for record in records],
    ]
    arrays = [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


class ListedRecords(list[CachedRecord]):
    """Records that are held as objects."""

    def prompt(self, index: int, number: int) -> str:
        """One of the prompts of a record."""
        return self[index].prompts[number]

    def shown(self, index: int) -> str:
        """What tells the picture of a record from others: `picture`, or its key where that is not known."""
        return self[index].picture or self[index].key


def read_json_records(path: Path) -> ListedRecords:
    """The records of a cache that an earlier version made: an object a line."""
    with path.open(encoding="utf-8") as lines:
        return ListedRecords(CachedRecord(**{"picture": NO_PICTURE} | json.loads(line)) for line in lines)


class _Texts:
    """A column of texts, each of which is read alone."""

    def __init__(self, column: pa.Array) -> None:
        _, offsets, content = column.buffers()
        self._offsets = np.frombuffer(offsets, np.int64)
        self._content = memoryview(b"" if content is None else content)

    def __getitem__(self, row: int) -> str:
        return str(self._content[self._offsets[row] : self._offsets[row + 1]], "utf-8", "surrogatepass")


def _is_whole(column: pa.Array) -> bool:
    """Whether a column's buffers are as long as its rows want, by what the file says of them: none is looked into."""
    kind, rows = column.type, len(column)
    if pa.types.is_large_list(kind):
        return column.buffers()[1].size >= 8 * (rows + 1) and _is_whole(column.values)
    if pa.types.is_large_binary(kind):
        return column.buffers()[1].size >= 8 * (rows + 1)
    return column.buffers()[1].size >= kind.bit_width // 8 * rows


class RecordRows:
    """Rows of one batch of an Arrow file: records whose latents are in one shard.

    Attributes:
        splits, flipped: numbers of `SPLITS`, and 0 or 1, `n` uint8 each.
        key_hashes: the first 8 bytes of `key_hash`, `n` uint64.
        first_prompts: where each record's prompts begin among those of all, `n + 1` int64.

    Raises:
        ValueError: if the batch is not whole, or of something else.
    """

    def __init__(self, batch: pa.RecordBatch) -> None:
        if batch.schema != SCHEMA or not all(map(_is_whole, batch.columns)):
            raise ValueError("not the records of a latent cache")
        self._batch = batch
        self._pictures = batch.column("picture")
        self.splits, self.flipped, self.key_hashes = (
            batch.column(name).to_numpy() for name in ("split", "flipped", "key_hash")
        )
        self.first_prompts: Tensor = torch.from_dlpack(batch.column("prompts").offsets)

    def __len__(self) -> int:
        return int(self._batch.num_rows)

    @cached_property
    def _keys(self) -> _Texts:
        return _Texts(self._batch.column("key"))

    @cached_property
    def _prompts(self) -> _Texts:
        return _Texts(self._batch.column("prompts").values)

    @cached_property
    def _weights(self) -> Any:
        return self._batch.column("prompt_weights").values.to_numpy()

    @cached_property
    def _picture_bytes(self) -> memoryview:
        return memoryview(self._pictures.buffers()[1])

    def picture_digests(self) -> Any:
        """Of each record 16 bytes, zeros where its picture is not known, `n 16` uint8."""
        digests = np.frombuffer(self._pictures.buffers()[1], np.uint8).reshape(-1, 16)
        unknown = self._pictures.is_null().to_numpy(zero_copy_only=False)
        return np.where(unknown[:, None], np.uint8(0), digests) if unknown.any() else digests

    def prompt(self, row: int, number: int) -> str:
        """One of the prompts of a record."""
        return self._prompts[int(self.first_prompts[row]) + number]

    def shown(self, row: int) -> str:
        """What tells the picture of a record from others: `picture`, or its key where that is not known."""
        return self._picture(row) or self._keys[row]

    def _picture(self, row: int) -> str | None:
        known = self._pictures.null_count == 0 or self._pictures[row].is_valid
        return self._picture_bytes[16 * row : 16 * row + 16].hex() if known else None

    def __getitem__(self, row: int) -> CachedRecord:
        prompts = range(int(self.first_prompts[row]), int(self.first_prompts[row + 1]))
        return CachedRecord(
            self._keys[row],
            [self._prompts[place] for place in prompts],
            SPLITS[self.splits[row]],
            bool(self.flipped[row]),
            self._weights[prompts.start : prompts.stop].tolist(),
            self._picture(row),
        )


class SomeRecords(Protocol):
    """Records in a row, as those of a batch of an Arrow file or of a cache."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> CachedRecord: ...

    def prompt(self, index: int, number: int, /) -> str:
        """One of the prompts of a record."""
        ...

    def shown(self, index: int, /) -> str:
        """What tells the picture of a record from others: `picture`, or its key where that is not known."""
        ...


class RecordsInTurn(Sequence[CachedRecord]):
    """Records of several parts, one part after the other, as if they were a list.

    Args:
        parts: that they are of.
    """

    def __init__(self, parts: Sequence[SomeRecords]) -> None:
        self._parts = parts
        self._ends = list(accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> CachedRecord: ...

    @overload
    def __getitem__(self, index: slice) -> list[CachedRecord]: ...

    def __getitem__(self, index: int | slice) -> CachedRecord | list[CachedRecord]:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        part, row = self._find(index)
        return part[row]

    def prompt(self, index: int, number: int) -> str:
        """One of the prompts of a record."""
        part, row = self._find(index)
        return part.prompt(row, number)

    def shown(self, index: int) -> str:
        """What tells the picture of a record from others: `picture`, or its key where that is not known."""
        part, row = self._find(index)
        return part.shown(row)

    def _find(self, index: int) -> tuple[SomeRecords, int]:
        place = range(len(self))[index]
        number = bisect_right(self._ends, place)
        return self._parts[number], place - self._ends[number] + len(self._parts[number])

    def __iter__(self) -> Iterator[CachedRecord]:
        for part in self._parts:
            for row in range(len(part)):
                yield part[row]


class ArrowRecords(RecordsInTurn):
    """All records of some Arrow files, as if they were a list.

    Args:
        files: in the order of their records.

    Attributes:
        batches: their rows, a shard's at a time.

    Raises:
        OSError, ValueError: if a file is not there or not whole.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.batches: list[RecordRows] = []
        for file in files:
            reader = pa.ipc.open_file(pa.memory_map(str(file)))
            self.batches += [RecordRows(reader.get_batch(number)) for number in range(reader.num_record_batches)]
        super().__init__(self.batches)
