"""What the names of emoji are put together from, and which pairs of parts are never trained on.

`woman farmer dark skin tone` is a farmer, a woman and dark; `three thirty` is a clock's hour and its minutes. The set
has the picture of nearly every combination, so that a model can be asked for one that it has not seen, and the picture
that it draws compared with the true one.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from itertools import combinations

Part = tuple[str, str]  # what kind of part it is, and which: ("tone", "dark")
Pair = tuple[Part, Part]

TONES = re.compile(r" ?\b(medium light|medium dark|medium|light|dark) skin tone\b")
HAIR = re.compile(r"(man|woman|person) (red hair|curly hair|white hair|blond hair|bald|beard)")
CLOCK = re.compile(r"(one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve) (o'clock|thirty)")
# What a name may have besides its subject, where the set has the same subject without it or with another one.
VARIED = {
    "figure": re.compile(r"^(man|woman|person|men|women|people)\b"),
    "direction": re.compile(r"\b(facing right|(?:up|down|left|right)(?: (?:left|right|down)(?= arrow))?)(?:wards)?\b"),
    "color": re.compile(r"\b(light blue|red|orange|yellow|green|blue|purple|brown|black|white|grey|pink)\b"),
    "face": re.compile(r"\b(face|cat)\b"),
}
# Left and right are not held out: such pictures are often each other mirrored, which counts as the same picture.
NEVER_HELD_OUT = re.compile(r"\b(left|right)\b")


def parts_of(names: Collection[str]) -> dict[str, list[Part]]:
    """The parts of each name, the subject first.

    Args:
        names: of all emoji that there are: whether a word is a part depends on what else there is.
    """
    plain = {TONES.sub("", name) for name in names}
    found = {name: list(_simple(name, plain)) for name in plain}
    toned: dict[str, list[Part]] = {}
    for name in names:
        tones = TONES.findall(name)
        toned[name] = found[TONES.sub("", name)] + ([("tone", " and ".join(tones))] if tones else [])
    return toned


def _simple(name: str, names: Collection[str]) -> Iterator[Part]:
    """Parts of a name without tones of skin."""
    if clock := CLOCK.fullmatch(name):
        yield from (("hour", clock[1]), ("minutes", clock[2]))
        return
    if hair := HAIR.fullmatch(name):
        yield from (("subject", hair[1]), ("hair", hair[2]))
        return
    subject = name
    parts: list[Part] = []
    for kind, pattern in VARIED.items():
        match = pattern.search(subject)
        if match is None:
            continue
        without = _without(subject, match)
        others = [other for other in names if other != subject and _without_any(other, pattern) == without]
        if without and others:
            subject = without
            parts.append((kind, match[1]))
            names = {_without_any(other, pattern) for other in names} | set(names)
    yield ("subject", subject)
    yield from parts


def _without(name: str, match: re.Match[str]) -> str:
    return " ".join((name[: match.start()] + name[match.end() :]).split())


def _without_any(name: str, pattern: re.Pattern[str]) -> str:
    match = pattern.search(name)
    return name if match is None else _without(name, match)


def pairs_of(parts: Collection[Part]) -> list[Pair]:
    """Two parts of a name each: its subject, or a clock's hour, with each of the others."""
    return [(one, other) for one, other in combinations(parts, 2) if one[0] in ("subject", "hour")]


def held_out_pairs(parts: Mapping[str, Collection[Part]], share: float) -> list[Pair]:
    """Pairs of parts that no picture to train on is to have both of.

    Of each kind of pair those with the smallest hashes, as long as every part of what is held out stays in a name
    that is not.

    Args:
        parts: of each name.
        share: of the pairs of each kind, at least one of each.
    """
    members: dict[Pair, list[str]] = {}
    for name, own in parts.items():
        for pair in pairs_of(own):
            members.setdefault(pair, []).append(name)
    kinds: dict[tuple[str, str], list[Pair]] = {}
    for pair in sorted(members, key=_place):
        kinds.setdefault((pair[0][0], pair[1][0]), []).append(pair)
    trained_on = Counter(part for own in parts.values() for part in own)
    chosen: list[Pair] = []
    gone: set[str] = set()
    for kind in sorted(kinds):
        wanted = max(round(share * len(kinds[kind])), 1)
        for pair in kinds[kind]:
            if NEVER_HELD_OUT.search(pair[1][1]):
                continue
            going = set(members[pair]) - gone
            lost = Counter(part for name in going for part in parts[name])
            if all(trained_on[part] > count for part, count in lost.items()):
                chosen.append(pair)
                gone |= going
                trained_on -= lost
                wanted -= 1
            if not wanted:
                break
    return chosen


def _place(pair: Pair) -> bytes:
    return hashlib.sha256(repr(pair).encode()).digest()
