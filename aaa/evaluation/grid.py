"""Pictures side by side with their prompts underneath."""

import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

CELL = 160  # pixels of a cell's side; smaller pictures are enlarged by whole factors, so that pixels stay sharp
CAPTION_LINES = 3
MARGIN = 8


def make_grid(images: Sequence[Image.Image], captions: Sequence[str], columns: int = 8) -> Image.Image:
    """Lay pictures out in rows, each over its caption."""
    factor = max(1, CELL // max(side for image in images for side in image.size))
    width, height = (factor * max(image.size[axis] for image in images) for axis in (0, 1))
    font = ImageFont.load_default(size=12)
    line_height = 15
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    cell_height = height + CAPTION_LINES * line_height + MARGIN
    grid = Image.new("RGB", (columns * (width + MARGIN) + MARGIN, rows * cell_height + MARGIN), "white")
    pen = ImageDraw.Draw(grid)
    characters = max(8, round(width / font.getlength("n")))
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left = MARGIN + (index % columns) * (width + MARGIN)
        top = MARGIN + (index // columns) * cell_height
        enlarged = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
        grid.paste(enlarged, (left + (width - enlarged.width) // 2, top + height - enlarged.height))
        lines = textwrap.wrap(caption, characters, max_lines=CAPTION_LINES, placeholder=" ...")
        for number, line in enumerate(lines):
            pen.text((left, top + height + 2 + number * line_height), line, fill="black", font=font)
    return grid
