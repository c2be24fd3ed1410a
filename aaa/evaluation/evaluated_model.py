"""A model as an evaluation sees it: it draws on demand, and the data set is at hand."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

import torch
from PIL import Image
from torch import Tensor, nn

from aaa.data.cache import LatentCache
from aaa.data.cached_records import key_hash
from aaa.data.decoding import decode_pictures
from aaa.data.live_prompts import latents_of
from aaa.data.records import Split
from aaa.evaluation.drawing import BATCH_SIZE, Drawn, PictureDrawer
from aaa.evaluation.reference import Comparison
from aaa.evaluation.sharing import share_out
from aaa.evaluation.source_pictures import SourcePictures

Group = Split | Literal["trained_on"]  # of records: either split, and what data.keep chose of the first
T = TypeVar("T")
R = TypeVar("R")


def trained_on(records: Mapping[Group, Tensor]) -> Tensor:
    """Those that are trained on: of the training split what `data.keep` chose, where it is said."""
    return records.get("trained_on", records["train"])


@dataclass(frozen=True)
class Real:
    """Pictures of the data set.

    Attributes:
        cache: has their latents.
        records: indices into it.
    """

    cache: LatentCache
    records: Tensor

    def __len__(self) -> int:
        return len(self.records)

    def part(self, rows: Sequence[int]) -> "Real":
        """Some of them."""
        return Real(self.cache, self.records[list(rows)])

    def latents(self) -> Iterator[Tensor]:
        """Of each record in turn, normalised as the model learns them, `C H W`, on the CPU; a few are held at once."""
        for indices in self.records.split(BATCH_SIZE):
            shapes = self.cache.shape_ids[indices]
            gathered: dict[int, Tensor] = {}
            for shape in shapes.unique():
                rows = (shapes == shape).nonzero()[:, 0]
                latents = latents_of(self.cache, indices[rows])
                gathered |= dict(zip(rows.tolist(), latents.cpu(), strict=True))
            yield from (gathered[row] for row in range(len(indices)))


class EvaluatedModel:
    """Draws with one model, as it is sampled by default, and has the data's latents.

    In a launch of several processes each has one and asks it for the same, in the same order; they share the work out,
    and each gets all of it.

    Args:
        model: in evaluation mode.
        drawer: draws for records of the latent cache.
        records: of each split, as indices into the cache. With `data.keep` the training split is what it chose from,
            so that runs with other conditions are judged by the same pictures; what it chose is there as `trained_on`.
        on_drawn: told how many pictures this process has drawn, of how many.
        span: which records of the cache are of the data that is judged, those that are in no split included; None for
            all of them.
        source_pictures: reads the data's pictures as they were encoded; None for those of latents alone.
        part_name: of a mixture, each part of which is judged by itself; None for all of the data.

    Attributes:
        kept: pictures that evaluations leave for people to look at, by name.
        compared: what metrics were measured on, by their names, as `Comparison` has it.
    """

    def __init__(
        self,
        model: nn.Module,
        drawer: PictureDrawer,
        records: Mapping[Any, Tensor],
        on_drawn: Callable[[int, int], None] = lambda _done, _total: None,
        span: range | None = None,
        source_pictures: SourcePictures | None = None,
        part_name: str | None = None,
    ) -> None:
        self.model, self.drawer, self.on_drawn = model, drawer, on_drawn
        self.records: dict[Group, Tensor] = {**records}
        self._span, self.source_pictures = span, source_pictures or SourcePictures()
        self.part_name = part_name
        self.kept: dict[str, Image.Image] = {}
        self.compared: dict[str, dict[str, Any]] = {}
        self._drawn: dict[tuple[str, Group], Drawn] = {}
        self._ordered: dict[Group, list[int]] = {}

    @property
    def span(self) -> range:
        """Which records of the cache are of the data that is judged."""
        return range(len(self.drawer.cache)) if self._span is None else self._span

    def split_to_judge(self, wanted: Split | None = None) -> Split:
        """Of which split drawn pictures and real ones are compared where nothing is wanted: the training one.

        What is never trained on, a part of a mixture of weight 0, is judged by what it holds out.
        """
        return wanted or ("train" if len(self.records["train"]) else "validation")

    def draw(self, split: Group, count: int) -> Drawn:
        """A picture for each of the first `count` records of a split, or of all if there are fewer.

        Those that were drawn before are given again: evaluations that look at the same pictures share them.
        """
        return self._draw("first", split, self.records[self._without_choice(split)][:count])

    def draw_spread(self, split: Group, count: int) -> Drawn:
        """The same for records that stand for all of a split, in whatever order the data set has them.

        They have the smallest hashes, of other texts than those by which `real` chooses.
        """
        records = self.drawer.cache.records

        def place(index: int) -> bytes:
            record = records[index]
            return key_hash(f"drawn {record.flipped} {record.key}")

        wanted = sorted(self.records[self._without_choice(split)].tolist(), key=place)[:count]
        return self._draw("spread", split, torch.tensor(wanted, dtype=torch.long))

    def draw_originals(self, split: Group, count: int) -> Drawn:
        """The same for records that are no mirrored copies, those with the smallest hashes of their keys.

        For what compares each picture with that of its own record: as `real` chooses, and data=openmoji is ordered.
        """
        wanted = self.originals(self._by_key(split))[:count]
        return self._draw("originals", split, torch.tensor(wanted, dtype=torch.long))

    def originals(self, indices: Iterable[int]) -> list[int]:
        """Those of these records that are no mirrored copies."""
        records = self.drawer.cache.records
        return [index for index in indices if not records[index].flipped]

    def _by_key(self, split: Group) -> list[int]:
        """Records of a split in the order of the hashes of their keys, whichever their data set has."""
        split = self._without_choice(split)
        if split not in self._ordered:
            records = self.drawer.cache.records
            self._ordered[split] = sorted(self.records[split].tolist(), key=lambda index: key_hash(records[index].key))
        return self._ordered[split]

    def _without_choice(self, split: Group) -> Group:
        """The training split for what is trained on where that is all of it."""
        return "train" if split == "trained_on" and split not in self.records else split

    def _draw(self, choice: str, split: Group, wanted: Tensor) -> Drawn:
        split = self._without_choice(split)
        drawn = self._drawn.get((choice, split))
        if drawn is None or len(drawn.images) < len(wanted):
            drawn = self._drawn[choice, split] = self.drawer.draw(self.model, wanted, on_drawn=self.on_drawn)
        return drawn.first(len(wanted))

    def draw_repeats(self, split: Group, prompts: int, seeds: int) -> list[Drawn]:
        """For each of some records of a split, of different prompts, as many pictures as seeds.

        They have the smallest hashes of their keys, as those of `real`.
        """
        first: dict[str, int] = {}
        for index in self._by_key(split):
            first.setdefault(self.drawer.cache.records[index].prompt, index)
            if len(first) == prompts:
                break
        repeated = torch.tensor(list(first.values())).repeat_interleave(seeds)
        numbers = list(range(self.drawer.seed, self.drawer.seed + seeds)) * len(first)
        drawn = self.drawer.draw(self.model, repeated, numbers, on_drawn=self.on_drawn)
        return [drawn.part(start, start + seeds) for start in range(0, len(repeated), seeds)]

    def real(self, split: Group, count: int) -> Real:
        """Up to `count` records of a split, the same ones at every call: those with the smallest hashes of their keys.

        They are in the order of these, which has nothing to do with that of the records that are drawn: however
        many of the first ones stand for all.
        """
        return Real(self.drawer.cache, torch.tensor(self._by_key(split)[:count], dtype=torch.long))

    def real_originals(self, split: Group, count: int) -> Real:
        """The same of records that are no mirrored copies, whose pictures there are in the data set itself."""
        wanted = self.originals(self._by_key(split))[:count]
        return Real(self.drawer.cache, torch.tensor(wanted, dtype=torch.long))

    def each(
        self, items: Sequence[T], look: Callable[[Sequence[T]], Sequence[R]], batch_size: int = BATCH_SIZE
    ) -> list[R]:
        """What a look at each of these gives, in their order; processes share the looking out.

        Args:
            items: the same in each process.
            look: at some of them, whichever; gives something for each, which must pickle.
            batch_size: how many it looks at, at most.
        """
        rows = [torch.arange(len(items))]
        return share_out(
            self.drawer.processes, rows, batch_size, lambda some: look([items[row] for row in some.tolist()])
        )

    def each_real(self, real: Real, look: Callable[[Real], Tensor]) -> Tensor:
        """Vectors of pictures of the data, `N D`, from a look at some of them; processes share the looking out."""
        rows = self.each(range(len(real)), lambda rows: [vector.clone() for vector in look(real.part(rows))])
        return torch.stack(rows)

    def decode(self, latents: Tensor) -> Image.Image:
        """The picture of some latents, `C H W`."""
        return decode_pictures(self.drawer.vae, latents[None].to(self.drawer.device))[0]

    def picture(self, record: int) -> Image.Image:
        """Of a record of the cache."""
        latents = latents_of(self.drawer.cache, torch.tensor([record]))
        return self.decode(latents[0])

    def prompt(self, record: int) -> str:
        """That a record of the cache comes with."""
        return self.drawer.cache.records[record].prompt

    def tell(self, metrics: Iterable[str], comparison: Comparison) -> None:
        """Say what these metrics were measured on, for the record of the evaluation."""
        self.compared |= {metric: asdict(comparison) for metric in metrics}

    def keep(self, name: str, picture: Image.Image) -> None:
        """Leave a picture to be looked at."""
        self.kept[name] = picture
