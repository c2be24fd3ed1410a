from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from aaa.reports.key_names import short_names
from aaa.reports.paired import fold_seeds
from aaa.reports.runs import read_runs
from tests.reports.test_paired import make_run


def test_names_are_short_and_unlike_one_another() -> None:
    keys = ["objective.terms.a.weight", "objective.terms.b.weight", "model.depth", "scheduler._target_", "weight"]
    assert list(short_names(keys).values()) == ["a.weight", "b.weight", "depth", "scheduler", "weight"]


@given(st.sets(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(".".join), max_size=8))
def test_no_two_names_are_one_and_each_ends_its_key(keys: set[str]) -> None:
    names = short_names(keys)
    assert set(names) == keys
    assert len(set(names.values())) == len(keys)
    assert all(f".{key}".endswith(f".{name}") for key, name in names.items())


def test_a_setting_says_which_weight_it_is(tmp_path: Path) -> None:
    for number, (first, second) in enumerate([(0.5, 0.0), (0.0, 0.5)]):
        make_run(tmp_path / "runs" / str(number), 1e-3, 0, shift=0.1 * number)
        with (tmp_path / "runs" / str(number) / "config.yaml").open("a") as config:
            config.write(f"objective: {{terms: {{a: {{weight: {first}}}, b: {{weight: {second}}}}}}}\n")
    runs = read_runs([tmp_path / "runs"])
    assert {setting.name for setting in fold_seeds(runs)} == {"a.weight=0.5", "a.weight=0"}
