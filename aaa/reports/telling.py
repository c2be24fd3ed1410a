"""Which keys tell the settings of runs apart, and in how few words."""

from collections.abc import Collection, Sequence

from aaa.reports.counting_keys import BESIDE_THE_LOSS, IGNORED, OF_SPEED, compared_value
from aaa.reports.key_names import shown_key
from aaa.reports.runs import MAX_STEPS, Run

# Groups of which an option is no setting at all, and those that the validation loss does not go by.
OTHER_GROUPS = ("logger", "sweep")
GROUPS_BESIDE_THE_LOSS = ("sampler", "sampling", "guidance", "evaluation")


def differing_keys(runs: Sequence[Run]) -> list[str]:
    """Config keys whose values are not the same in all runs.

    Without those that only say where a run is and how it is kept, and without statistics of its latents, which are
    not chosen.
    """
    keys = {key: None for run in runs for key in run.config}
    return [
        key
        for key in keys
        if not IGNORED.fullmatch(key) and len({compared_value(run.config.get(key)) for run in runs}) > 1
    ]


def without_arguments(runs: Sequence[Run], keys: Sequence[str]) -> list[str]:
    """These keys without arguments that came along with a class among them: it says which, and no run was told them."""

    def came_along(key: str, of: str) -> bool:
        is_argument = key != of and key.startswith(of.removesuffix("_target_"))
        is_told = any(run.typed is None or key in run.typed for run in runs)
        return is_argument and not is_told and len(_settings(runs, [of])) == len(_settings(runs, [of, key]))

    classes = [key for key in keys if key.endswith("._target_")]
    return [key for key in keys if not any(came_along(key, of) for of in classes)]


def without_copies(runs: Sequence[Run], keys: Sequence[str]) -> list[str]:
    """These keys without those that nobody was told and that have, in every run, the value of one that runs were told.

    As the width of a term has the model's. One that has other values may have been changed in a file meanwhile, even if
    they go along with what was told. What an option of a group says stays: it is what the option means.
    """
    apart = _told_apart(runs)
    leading = [key for key in telling_keys(runs) if key in apart and any(key in run.config for run in runs)]

    def is_copy(key: str) -> bool:
        is_told = any(run.typed is None or key in run.typed for run in runs)
        is_of_option = any(key.startswith(f"{name}.") for name in apart)
        is_same = any(all(setting_of(run, [key]) == setting_of(run, [other]) for run in runs) for other in leading)
        return not is_told and not is_of_option and is_same

    return [key for key in keys if key in leading or not is_copy(key)]


def telling_keys(runs: Sequence[Run]) -> list[str]:
    """Those of the differing keys that tell settings apart, classes first; without what follows from them.

    A noise scheduler's own arguments, say, where runs differ in the scheduler alone. What a search has tried is there
    however many runs another key tells apart already. Seeds are no settings. Where options of config groups say the
    same in fewer words, as `+experiment=recipe_prx` does, it is those. What `setting_keys` has is among them: a
    setting is named by the same keys everywhere.
    """
    of_loss = setting_keys(runs)
    telling = _telling(runs, [key for key in _chosen_keys(runs) if key != "seed"], OTHER_GROUPS)
    further = _needed(runs, [key for key in telling if key not in of_loss], _told_apart(runs), of_loss)
    return [*(key for key in telling if key in further), *(key for key in of_loss if key not in telling)]


def setting_keys(runs: Sequence[Run], *, by_choice: bool = True) -> list[str]:
    """The keys that tell apart settings whose validation losses are to be compared.

    Runs that differ in others alone, such as the sampling of their pictures, are trained alike; as are those of which
    one took less memory for a step than another, if they did not train for so many seconds.

    Args:
        runs: to compare.
        by_choice: whether an option of a group may stand for several keys.
    """
    timed = any(run.config.get("budget.seconds") for run in runs)
    keys = [
        key
        for key in _chosen_keys(runs)
        if not BESIDE_THE_LOSS.fullmatch(key) and (timed or not OF_SPEED.fullmatch(key))
    ]
    if not by_choice:
        return _telling_keys(runs, keys)
    return _telling(runs, keys, (*OTHER_GROUPS, *GROUPS_BESIDE_THE_LOSS))


def _chosen_keys(runs: Sequence[Run]) -> list[str]:
    """Differing keys, without `MAX_STEPS` where runs differ only in what they found to fit into their time."""
    return [key for key in differing_keys(runs) if len(_settings(runs, [key])) > 1]


def _telling(runs: Sequence[Run], keys: list[str], but: Collection[str]) -> list[str]:
    """Those of the keys that tell settings apart; or groups, but these, of which options say as much in fewer words.

    Of a recipe that sets many keys, one tells it from another: by that alone it would seem to differ in nothing else.
    """
    telling = _telling_keys(runs, keys)
    groups = [group for group in _choices_alike(runs, telling) if group not in but]
    by_choice = _needed(runs, [*groups, *telling], _told_apart(runs))
    stand_for_more = len(by_choice) < len(without_arguments(runs, keys)) and {*by_choice} != {*map(shown_key, telling)}
    return by_choice if len(by_choice) < len(telling) + stand_for_more else telling


def _telling_keys(runs: Sequence[Run], keys: list[str]) -> list[str]:
    told = _told_apart(runs)
    has_options = any(not _is_key(runs, name) for name in told)

    def place(key: str) -> tuple[bool, bool, bool]:
        # What nobody was told follows from what runs were told, unless from an option of a group, of which it is all
        # that is seen here. A budget says more than the steps that come of it.
        return not key.endswith("_target_"), not has_options and key not in told, key == MAX_STEPS

    telling = _needed(runs, sorted(keys, key=place), told)
    return [key for key in keys if key in telling]


def _needed(runs: Sequence[Run], keys: list[str], told: Collection[str], first: Sequence[str] = ()) -> list[str]:
    """Those of the keys, one after the other, that tell apart what those before do not, or that are among the told.

    Args:
        runs: to tell apart.
        keys: to choose from.
        told: shown keys that are needed in any case.
        first: keys that are there before them.
    """
    needed = list(first)
    apart = max(1, len(_settings(runs, needed)))
    for key in keys:
        settings = _settings(runs, [*needed, key])
        is_told = shown_key(key) in told and shown_key(key) not in map(shown_key, needed)
        if len(settings) > apart or is_told:
            needed, apart = [*needed, key], len(settings)
    return needed


def _told_apart(runs: Sequence[Run]) -> set[str]:
    """Groups and shown keys that runs were not all told the same of, as far as it is known what they were told."""
    told = [run.typed for run in runs if run.typed is not None]
    names = {name for typed in told for name in typed if not IGNORED.fullmatch(name)}
    return {shown_key(name) for name in names if len({typed.get(name) for typed in told}) > 1}


def _is_key(runs: Sequence[Run], name: str) -> bool:
    return any(name in run.config or f"{name}._target_" in run.config for run in runs)


def _settings(runs: Sequence[Run], keys: list[str]) -> set[str]:
    return {setting_of(run, keys) for run in runs}


def _choices_alike(runs: Sequence[Run], telling: list[str]) -> list[str]:
    """Groups of which every run was told an option, all runs of a setting the same, and those of one the same class."""
    groups = [group for group in runs[0].choices if all(group in run.choices for run in runs)] if runs else []

    def count(*keys: str) -> int:
        return len(_settings(runs, list(keys)))

    same = {group: count(*telling, group) == count(*telling) for group in groups}
    return [group for group in groups if same[group] and count(group, f"{group}._target_") == count(group)]


def setting_of(run: Run, keys: list[str]) -> str:
    """What a run has of these keys: equal where the runs do not differ in them."""
    return compared_value([run.chosen(key) for key in keys])
