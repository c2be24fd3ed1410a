"""Which keys nobody chose: those that a config says by another key, `${third_of:${model.depth}}`."""

from collections.abc import Sequence

from omegaconf import OmegaConf

from aaa.config.leaves import leaves
from aaa.config.trust import read_yaml_config
from aaa.errors import UserError
from aaa.reports.runs import Run
from aaa.reports.telling import differing_keys, without_arguments, without_copies

COMPOSED = ".hydra/config.yaml"  # of a run, in its folder: as it was composed, before what refers to others has a value


def chosen_keys(runs: list[Run]) -> list[str]:
    """The differing keys, without those that came along with a class, copy another, or follow from one."""
    return without_following(runs, without_copies(runs, without_arguments(runs, differing_keys(runs))))


def without_following(runs: Sequence[Run], keys: Sequence[str]) -> list[str]:
    """These keys without those that follow from others in every run by the same words, and that no run was told.

    Args:
        runs: to compare.
        keys: of their configs, that differ.
    """
    untold = [key for key in keys if not any(run.typed is None or key in run.typed for run in runs)]
    if not untold:
        return list(keys)
    referring = _referring(runs[0], untold)
    # The others' are searched as text: to read them all would take as long as all else of a comparison.
    for run in runs[1:] if referring else ():
        lines = {line.strip() for line in _text(run).splitlines()}
        referring = {key: said for key, said in referring.items() if f"{key.rpartition('.')[2]}: {said}" in lines}
    return [key for key in keys if key not in referring]


def _referring(run: Run, keys: Sequence[str]) -> dict[str, str]:
    """Those of the keys that a run's config says by others, and how."""
    try:
        said = dict(leaves(OmegaConf.to_container(read_yaml_config(run.folder / COMPOSED))))
    except UserError:
        return {}
    return {key: value for key in keys if isinstance(value := said.get(key), str) and "${" in value}


def _text(run: Run) -> str:
    try:
        return (run.folder / COMPOSED).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
