"""Commands that the documentation shows, and the headings that its links lead to."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.M | re.S)
COMMAND = re.compile(r"-m aaa\.(train|encode|plan|bench|sample|evaluate|web) (.*)")
# What is somebody's own, and what a shell makes of variables that a script is started with.
PLACEHOLDERS = {"DATA": "data=imagefolder data.root=FOLDER", '"$@"': "", "$PWD": "."}
DEFAULT_OF_VARIABLE = re.compile(r"\$\{\w+:-(\w+)\}")


@dataclass(frozen=True)
class Documented:
    """A command as a page shows it.

    Attributes:
        place: `docs/recipes.md:8`.
        command: `train`, or another.
        arguments: of it.
    """

    place: str
    command: str
    arguments: list[str]


def commands(page: Path) -> Iterator[Documented]:
    """Those in a page's blocks of bash; `...` stands for the arguments of the one before."""
    text, before = page.read_text(), list[str]()
    for block in FENCED.finditer(text):
        if block[1] != "bash":
            continue
        first = text.count("\n", 0, block.start(2)) + 1
        for line in re.finditer(r"(?:\\\n|.)+", block[2]):
            found = COMMAND.search(line[0].replace("\\\n", " ") + " ")
            if found is None:
                continue
            told = DEFAULT_OF_VARIABLE.sub(r"\1", found[2])
            for placeholder, meant in PLACEHOLDERS.items():
                told = re.sub(rf"(?<!\w){re.escape(placeholder)}(?!\w)", meant, told)
            told = re.split(r" (?:&&|\|) ", told)[0]
            given = shlex.split(told, comments=True)
            if "..." in given:
                at, own = given.index("..."), {*given}
                given[at : at + 1] = [argument for argument in before if argument not in own]
            before = given
            number = first + block[2].count("\n", 0, line.start())
            yield Documented(f"{page.relative_to(ROOT)}:{number}", found[1], given)


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a page: in small letters, without punctuation, numbered where two are alike."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#{1,6} +(.+?)[ #]*$", FENCED.sub("", page.read_text()), re.M):
        shown = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        found[slug] = found.get(slug, -1) + 1
        if found[slug]:
            found[f"{slug}-{found[slug]}"] = 0
    return set(found)
