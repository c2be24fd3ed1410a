"""What the tables of a data set say of its records beside pictures and prompts, read again from where the source read
its own columns.

Sources keep no more than they train on, and what they are made of is part of every latent cache's name: so this stands
beside them, and knows them.
"""

import inspect
import posixpath
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aaa.config.condition import as_name
from aaa.data.endings import suffix
from aaa.data.imagefolder import TABLES, ImageFolderSource
from aaa.data.left_out import LeftOut
from aaa.data.numbered_captions import has_numbered_captions
from aaa.data.records import Source
from aaa.data.shards import samples_of
from aaa.data.table_content import NUMBERED
from aaa.data.tables import KINDS, Kind, read_table
from aaa.data.webdataset import WebDatasetSource
from aaa.errors import UserError

ROW = re.compile(r"(.+)(?::\d+|\[\d+\])")  # of a table: `metadata.csv:17`, `metadata.parquet[16]`
PLAIN = ("Value", "ClassLabel", "List", "LargeList", "Sequence", "list")  # types of columns


@dataclass(frozen=True)
class ColumnValues:
    """Values of the records of a source.

    Attributes:
        columns: all that there are.
        row: of a record, by its number: what was asked for, by column; a column that it lacks is not there.
        place: where that was said.
        picture: of a record: the file or its content; None where it is drawn by its `load` alone.
        is_broken: whether what is wrong with a record is told when it is read, so that its values mean nothing.
    """

    columns: Sequence[str]
    row: Callable[[int], Mapping[str, Any]]
    place: Callable[[int], str]
    picture: Callable[[int], Path | bytes | None]
    is_broken: Callable[[int], bool] = lambda _: False


def column_values(source: Source, names: Collection[str]) -> ColumnValues:
    """Those of the columns that these names may mean.

    Args:
        source: of records; one that is not ours may have a method `values`, which gives what there is of a record, by
            its number and then by column.
        names: as conditions have them (`as_name`).

    Raises:
        UserError: if a table can no longer be read.
    """
    if isinstance(source, ImageFolderSource):
        return _of_folder(source, names)
    if isinstance(source, WebDatasetSource):
        return _of_shards(source, names)
    if type(source).__module__ == "aaa.data.huggingface":  # which is imported where `datasets` is there
        return _of_data_set(source, names)
    own = getattr(source, "values", None)
    rows = [own(number) for number in range(len(source))] if callable(own) and _takes_a_number(own) else []
    if (wrong := next((row for row in rows if not isinstance(row, Mapping)), rows)) is not rows:
        raise UserError(
            f"data.source: {type(source).__name__}.values gives a {type(wrong).__name__}, and has to give values by "
            "name (docs/extending.md)."
        )
    return ColumnValues(
        list(dict.fromkeys(column for row in rows for column in row)),
        lambda number: rows[number] if rows else {},
        lambda number: f"record {source[number].key!r}",
        lambda number: source[number].path,
    )


def _takes_a_number(method: Callable[..., Any]) -> bool:
    """Whether it is for this; `values` of dicts and tables are called without anything, and are of something else."""
    try:
        inspect.signature(method).bind(0)
    except (TypeError, ValueError):
        return False
    return True


def _asked(row: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {column: value for column, value in row.items() if column in names or as_name(column) in names}


def _of_folder(source: ImageFolderSource, names: Collection[str]) -> ColumnValues:
    pictures = source._pictures
    tables = dict.fromkeys(match[1] for picture in pictures if (match := ROW.fullmatch(picture.place)))
    columns: dict[str, None] = {}
    rows: dict[str, dict[str, Any]] = {}
    for table in tables:
        if (kind := _kind_of(table, source.root)) is None:  # a text whose name looks like a row
            continue
        for row in read_table(source.root / table, table, kind):
            columns |= dict.fromkeys(filter(None, row.values))
            rows[row.place] = _asked(row.values, names)
    return ColumnValues(
        list(columns),
        lambda number: rows.get(pictures[number].place, {}),
        lambda number: pictures[number].place,
        lambda number: source[number].path,
        lambda number: pictures[number].problem is not None,
    )


def _kind_of(table: str, root: Path) -> Kind | None:
    """What the source read a table as: one called metadata by its ending, another by what is in it."""
    called = posixpath.basename(table).lower()
    if called not in TABLES and called.endswith(NUMBERED) and has_numbered_captions(root / table):
        return "numbered"
    return ({".txt": KINDS[".csv"]} | KINDS).get(suffix(table))


def _of_shards(source: WebDatasetSource, names: Collection[str]) -> ColumnValues:
    samples = source._samples
    columns: dict[str, None] = {}
    rows: dict[tuple[int, str], dict[str, Any]] = {}
    for number, (file, called) in enumerate(zip(source.files, source._names, strict=True)):
        for sample in samples_of(file, called, names, LeftOut(source._root)):  # what is left out was told before
            columns |= dict.fromkeys(sample.texts)
            rows[number, sample.name] = _asked(sample.texts, names)
    return ColumnValues(
        list(columns),
        lambda number: rows.get((samples[number].shard, samples[number].name), {}),
        lambda number: source._place(samples[number]),
        lambda number: source._content(samples[number]),
        lambda number: samples[number].problem is not None,
    )


def _of_data_set(source: Any, names: Collection[str]) -> ColumnValues:
    from aaa.data.huggingface import _load, _named_classes

    rows = source._rows
    columns: dict[str, None] = {}
    values: dict[str, list[dict[str, Any]]] = {}
    for name, split in _load(source._root, source.files).items():
        features = {column: of for column, of in split.features.items() if _is_plain(of)}
        columns |= dict.fromkeys(features)
        wanted = [*_asked(features, names)]
        classes = {
            column: features[column].names for column in wanted if type(features[column]).__name__ == "ClassLabel"
        }
        values[name] = [row | _named_classes(row, classes) for row in _rows_of(split, wanted)]
    return ColumnValues(
        list(columns),
        lambda number: values[rows[number].split][rows[number].number],
        lambda number: f"{rows[number].split}[{rows[number].number}]",
        lambda number: source._content(rows[number]) if rows[number].file is None else source._root / rows[number].file,
        lambda number: rows[number].problem is not None,
    )


def _is_plain(feature: Any) -> bool:
    """Whether a column holds numbers, texts, classes or lists of them, and no pictures, which would be decoded."""
    return type(feature).__name__ in PLAIN and "Image(" not in repr(feature)


def _rows_of(split: Any, columns: Sequence[str]) -> Iterable[dict[str, Any]]:
    return split.select_columns(list(columns)) if columns else ({} for _ in range(len(split)))
