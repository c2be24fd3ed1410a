"""Pictures side by side with their prompts underneath."""

import textwrap
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

CELL = 160  # pixels of a cell's side; smaller pictures are enlarged by whole factors, so that pixels stay sharp
CAPTION_LINES = 3  # at most
MARGIN, LINE = 8, 15  # pixels, of a line of text
EDGE = "#cccccc"  # around pictures, outside of them: white ones would have no edge on white


def make_grid(
    images: Sequence[Image.Image],
    captions: Sequence[str],
    columns: int = 8,
    headings: Mapping[int, str] | None = None,
) -> Image.Image:
    """Lay pictures out in rows, each over its caption.

    Args:
        images: at least one.
        captions: of each; of a long one the beginning is shown.
        columns: of a row, at most.
        headings: by the number of a picture, with which a new row begins, what stands above that.
    """
    headings = headings or {}
    factor = max(1, CELL // max(side for image in images for side in image.size))
    width, height = (factor * max(image.size[axis] for image in images) for axis in (0, 1))
    font = ImageFont.load_default(size=12)
    columns = min(columns, len(images))
    letter = font.getlength("n")
    characters, of_row = (max(8, round(room / letter)) for room in (width, columns * (width + MARGIN) - MARGIN))
    told = [textwrap.wrap(text, characters, max_lines=CAPTION_LINES, placeholder=" ...") for text in captions]
    above = {number: textwrap.wrap(text, of_row) for number, text in headings.items()}
    rows = _rows(len(images), columns, headings)
    cell_height = height + max(map(len, told)) * LINE + MARGIN
    heading_heights = [len(above.get(row[0], ())) * LINE for row in rows]
    size = (columns * (width + MARGIN) + MARGIN, len(rows) * cell_height + sum(heading_heights) + MARGIN)
    grid = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(grid)
    top = MARGIN
    for row, heading_height in zip(rows, heading_heights, strict=True):
        _write(pen, (MARGIN, top - 2), above.get(row[0], ()), font)
        top += heading_height
        for column, index in enumerate(row):
            image, left = images[index], MARGIN + column * (width + MARGIN)
            enlarged = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
            x, y = left + (width - enlarged.width) // 2, top + height - enlarged.height
            pen.rectangle((x - 1, y - 1, x + enlarged.width, y + enlarged.height), outline=EDGE)
            grid.paste(enlarged, (x, y))
            _write(pen, (left, top + height + 2), told[index], font)
        top += cell_height
    return grid


def _rows(count: int, columns: int, headings: Mapping[int, str]) -> list[list[int]]:
    """Numbers of the pictures of each row."""
    rows: list[list[int]] = []
    for number in range(count):
        if not rows or number in headings or len(rows[-1]) == columns:
            rows.append([])
        rows[-1].append(number)
    return rows


def _write(
    pen: ImageDraw.ImageDraw,
    place: tuple[int, int],
    lines: Sequence[str],
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
) -> None:
    left, top = place
    for number, line in enumerate(lines):
        pen.text((left, top + number * LINE), line, fill="black", font=font)
