"""Pictures that one of several data sets holds out are trained on in none: what is seen in another is not held out."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aaa.data.cached_records import ArrowRecords
from aaa.data.joined_records import Records
from aaa.data.kept import KeptRecords
from aaa.errors import UserError

logger = logging.getLogger(__name__)


def seen_nowhere_else(
    records: Mapping[str, Records], train: Mapping[str, Tensor | KeptRecords], held_out: Mapping[str, Tensor]
) -> dict[str, Tensor | KeptRecords]:
    """The records to train on of each data set, without those whose picture another one holds out.

    A picture is the same where its pixels are, mirrored or not. Those in caches of versions that did not look at pixels
    are not known.

    Args:
        records: of each data set.
        train, held_out: indices of them.

    Raises:
        UserError: if that leaves nothing of one of them.
    """
    shown = {name: _pictures(records[name], indices.numpy()) for name, indices in held_out.items()}
    left: dict[str, Tensor | KeptRecords] = {}
    for name, own in train.items():
        others = np.concatenate([np.empty(0, np.uint64), *(some for other, some in shown.items() if other != name)])
        alike = torch.from_numpy(_showing(records[name], np.unique(others)))
        left[name] = own.without(alike) if isinstance(own, KeptRecords) else own[~torch.isin(own, alike)]
        if not len(left[name]):
            raise UserError(
                f"data.parts.{name}: other parts hold out every picture of it: nothing is left to train on."
            )
        if fewer := len(own) - len(left[name]):
            logger.warning(
                "data.parts.%s: %s that another part holds out: not trained on, so that held out means never seen.",
                name,
                "1 record to train on shows a picture" if fewer == 1 else f"{fewer} records to train on show pictures",
            )
    return left


def _digests(records: Records) -> Iterator[tuple[int, Any]]:
    """What tells the pictures of records from others, 0 where they are not known: where they begin, `n` uint64."""
    start = 0
    if isinstance(records, ArrowRecords):
        for batch in records.batches:
            yield start, batch.picture_digests()[:, :8].copy().view(np.uint64)[:, 0]
            start += len(batch)
    else:
        known = (bytes.fromhex(record.picture or "")[:8].ljust(8, b"\0") for record in records)
        yield 0, np.frombuffer(b"".join(known), np.uint64)


def _pictures(records: Records, indices: Any) -> Any:
    """Those of these records, as far as they are known."""
    found = [np.empty(0, np.uint64)]
    for start, digests in _digests(records):
        inside = (indices >= start) & (indices < start + len(digests))
        found.append(digests[indices[inside] - start])
    together = np.concatenate(found)
    return together[together != 0]


def _showing(records: Records, pictures: Any) -> Any:
    """Indices of the records that show one of these, which are sorted."""
    found = [np.empty(0, np.int64)]
    if len(pictures):
        found += [start + np.flatnonzero(np.isin(digests, pictures)) for start, digests in _digests(records)]
    return np.concatenate(found)
