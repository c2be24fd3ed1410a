"""What `init_from` counts as where settings are told apart: earlier runs that are seeds of each other are one.

Among runs that differ in nothing but their own seed and `init_from`, those are it whose stages before are of one kind,
if each seed has an earlier run of its own.
"""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from aaa.tracking.stages import Stage


@dataclass(frozen=True)
class Beginning:
    """How a run began that began from trained weights.

    Attributes:
        path: of the weights, as its config says it.
        stages: before it, the first first.
        seed: its own.
        setting: equal for runs that differ in these alone.
    """

    path: str
    stages: Sequence[Stage]
    seed: object
    setting: str

    @property
    def kinds(self) -> tuple[str | None, ...]:
        """Of its stages: runs of the same ones may be seeds of each other."""
        return tuple(stage.kind for stage in self.stages)

    @property
    def weights(self) -> tuple[object, ...]:
        """What tells its weights from others: a run that went on has other ones at the same place."""
        return self.path, *((stage.run, stage.step, stage.samples, stage.flops) for stage in self.stages)


def counted_as(beginnings: Mapping[str, Beginning]) -> dict[str, str]:
    """What `init_from` of each run counts as: `outputs/small/*`, or its path; no two that differ are called the same.

    Args:
        beginnings: by the run's name.
    """
    paths_of_kind = _folded(beginnings.values())
    same: dict[tuple[object, ...], list[str]] = {}
    called: dict[tuple[object, ...], str] = {}
    every_path = {begun.path for begun in beginnings.values()}
    for name, begun in beginnings.items():
        paths = paths_of_kind.get((begun.kinds, begun.setting))
        key = begun.weights if paths is None else ("folded", *begun.kinds)
        called[key] = begun.path if paths is None else _pattern(sorted(paths), every_path - paths)
        same.setdefault(key, []).append(name)
    steps = {key: beginnings[names[0]].stages[-1].step for key, names in same.items()}
    unique = _told_apart(called, steps)
    return {name: unique[key] for key, names in same.items() for name in names}


def _folded(beginnings: Iterable[Beginning]) -> dict[tuple[object, ...], set[str]]:
    """By kinds and setting, of runs that are seeds of each other, the paths of all runs of these kinds that are."""
    groups: dict[tuple[tuple[str | None, ...], str], set[tuple[object, str]]] = {}
    for begun in beginnings:
        if None not in begun.kinds:
            groups.setdefault((begun.kinds, begun.setting), set()).add((begun.seed, begun.path))
    paths: dict[tuple[str | None, ...], set[str]] = {}
    paired = {key: pairs for key, pairs in groups.items() if _is_one_to_one(pairs)}
    for (kinds, _), pairs in paired.items():
        if len(pairs) > 1:
            paths.setdefault(kinds, set())
    for (kinds, _), pairs in paired.items():
        if kinds in paths:
            paths[kinds] |= {path for _, path in pairs}
    return {(kinds, setting): paths[kinds] for kinds, setting in paired if kinds in paths}


def _is_one_to_one(pairs: set[tuple[object, str]]) -> bool:
    return len(pairs) == len({seed for seed, _ in pairs}) == len({path for _, path in pairs})


def _pattern(paths: Sequence[str], others: Iterable[str]) -> str:
    """`outputs/small/*` where nothing else begins so, else `outputs/small/{0,1}`."""
    beginning = os.path.commonprefix(paths)  # noqa: RUF071 - of words too
    ends = [path.removeprefix(beginning) for path in paths]
    if beginning and all(ends) and not any(other.startswith(beginning) for other in others):
        return f"{beginning}*"
    return f"{beginning}{{{','.join(ends)}}}"


def _told_apart(
    called: Mapping[tuple[object, ...], str], steps: Mapping[tuple[object, ...], int | None]
) -> dict[tuple[object, ...], str]:
    """The names, with the step of the weights where two have the same, and a number where that does not tell either."""
    names, count = dict(called), Counter(called.values())
    for key, name in called.items():
        if count[name] > 1 and steps[key] is not None:
            names[key] = f"{name} (step {steps[key]})"
    taken: set[str] = set()
    for key, name in names.items():
        number, unique = 1, name
        while unique in taken:
            number, unique = number + 1, f"{name} #{number + 1}"
        names[key] = unique
        taken.add(unique)
    return names
