"""Pictures of the data set as they were encoded, read again from where they came from: no VAE has lost anything."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from PIL import Image

from aaa.data.cached_records import CachedRecord
from aaa.data.duplicates import picture_digest
from aaa.data.encoding import Fit
from aaa.data.in_order import in_order
from aaa.data.pictures import cover, cut_centre
from aaa.data.records import Source
from aaa.errors import UserError

logger = logging.getLogger(__name__)

KEY = "evaluation.reference=original"


class OriginalsGone(UserError):  # noqa: N818 - says what, as NotFinite
    """Pictures that were encoded cannot be read again."""


@dataclass(frozen=True)
class EncodedSource:
    """What a latent cache was made from.

    Attributes:
        open: opens the data set; called where a picture of it is asked for, as most runs never do.
        records: of its cache.
        span: their indices in the cache that is trained on, which may be of several data sets.
        fit: which size a picture is cut to, by its own.
    """

    open: Callable[[], Source]
    records: Sequence[CachedRecord]
    span: range
    fit: Fit

    @cached_property
    def source(self) -> Source:
        """The data set.

        Raises:
            OriginalsGone: if it is not there any more.
        """
        try:
            return self.open()
        except UserError as error:
            raise OriginalsGone(f"{KEY}: the data set cannot be opened again. {error}") from None

    @cached_property
    def _places_by_key(self) -> dict[str, list[int]]:
        places: dict[str, list[int]] = {}
        for place in range(len(self.source)):
            places.setdefault(self.source[place].key, []).append(place)
        return places

    def places(self, index: int) -> Iterator[int]:
        """Records of the data set that have the key of this one of the cache, the likeliest first.

        A cache has every picture in the order of its data set before any mirrored copy: most are at the same place.
        Only where some could not be read, or several have one key, all keys are looked through.
        """
        key = self.records[index].key
        is_there = index < len(self.source) and self.source[index].key == key
        if is_there:
            yield index
        yield from (place for place in self._places_by_key.get(key, []) if not (is_there and place == index))

    def read(self, index: int) -> tuple[Image.Image, bool]:
        """The picture of a record as it was encoded, but never mirrored; and whether its pixels are still those.

        Of several of one key it is the one whose pixels were encoded, if that can be read.

        Args:
            index: of the record in the cache.

        Raises:
            OriginalsGone: if none of them can be read.
        """
        record = self.records[index]
        why = "the data set has no such record any more"
        changed: Image.Image | None = None
        for place in self.places(index):
            try:
                loaded = self.source[place].load()
                size = self.fit(loaded.width, loaded.height)
                covering = cover(loaded, *size)
            except UserError as error:
                why = str(error)
                continue
            if not record.picture or picture_digest(covering) == record.picture:
                return cut_centre(covering, *size), True
            changed = changed or cut_centre(covering, *size)
        if changed is not None:
            return changed, False
        raise OriginalsGone(
            f"{KEY}: the picture of record {record.key!r} cannot be read again: {why}. Bring it back, or compare with "
            "evaluation.reference=decoded."
        )


class SourcePictures:
    """Reads pictures of a cache's records again.

    Args:
        parts: what the cache was made from; nothing of data sets of which only the latents are here.
    """

    def __init__(self, parts: Sequence[EncodedSource] = ()) -> None:
        self.parts = parts
        self._has_warned = False

    def read(self, records: Sequence[int]) -> list[Image.Image]:
        """The pictures of records of the cache, cut and scaled as they were encoded and not mirrored.

        Raises:
            OriginalsGone: if one of them cannot be read.
        """
        homes = [self._home(record) for record in records]
        for part, _ in homes:
            _ = part.source  # opened once, by none of several threads
        pictures: list[Image.Image] = []
        for found in in_order(_read, homes, len(homes)) if homes else ():
            if isinstance(found, OriginalsGone):
                raise found
            picture, is_same = found
            if not is_same:
                self._warn(records[len(pictures)])
            pictures.append(picture)
        return pictures

    def _home(self, record: int) -> tuple[EncodedSource, int]:
        for part in self.parts:
            if record in part.span:
                return part, record - part.span.start
        raise OriginalsGone(
            f"{KEY}: of data=cache there are the latents alone, and no pictures. evaluation.reference=decoded compares "
            "with what the VAE makes of them."
        )

    def _warn(self, record: int) -> None:
        if not self._has_warned:
            part, index = self._home(record)
            # No reason to refuse them: another version of Pillow may decode a file a little otherwise.
            logger.warning(
                "Pictures have other pixels than were encoded, such as that of record %r; they are compared with all "
                "the same.",
                part.records[index].key,
            )
        self._has_warned = True


def _read(home: tuple[EncodedSource, int]) -> tuple[Image.Image, bool] | OriginalsGone:
    part, index = home
    try:
        return part.read(index)
    except OriginalsGone as gone:
        return gone
