"""A condition is read as Python reads it, and is nothing that Python would run."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aaa.config.condition import Condition, UnfitValue, as_name
from aaa.errors import UserError

NAMES = ("a", "b", "c")
NUMBERS = st.integers(-9, 9) | st.floats(-9, 9, allow_nan=False).map(lambda value: round(value, 2))


class NotATime(date):
    """As pandas' NaT: unlike itself, and a date by its type."""

    def __ne__(self, _: object) -> bool:
        return True


def numbers() -> st.SearchStrategy[str]:
    """Written numbers, names, and what is computed of them."""
    leaves = st.sampled_from(NAMES) | NUMBERS.map(str)
    return st.recursive(
        leaves,
        lambda inner: (
            st.builds("({} {} {})".format, inner, st.sampled_from("+-*/"), inner) | st.builds("-{}".format, inner)
        ),
        max_leaves=4,
    )


def conditions() -> st.SearchStrategy[str]:
    """Written conditions on numbers."""
    order = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
    listed = st.lists(NUMBERS.map(str), min_size=1, max_size=3).map(", ".join)
    compared = (
        st.builds("{} {} {}".format, numbers(), order, numbers())
        | st.builds("{} {} {} {} {}".format, numbers(), order, numbers(), order, numbers())
        | st.builds("{} {} [{}]".format, numbers(), st.sampled_from(["in", "not in"]), listed)
    )
    return st.recursive(
        compared,
        lambda inner: (
            st.builds("{} {} {}".format, inner, st.sampled_from(["and", "or"]), inner)
            | st.builds("not {}".format, inner)
            | st.builds("({})".format, inner)
        ),
        max_leaves=5,
    )


@settings(max_examples=60)
@given(text=conditions(), values=st.fixed_dictionaries(dict.fromkeys(NAMES, NUMBERS)), of_csv=st.booleans())
def test_it_means_what_it_means_in_python(text: str, values: Mapping[str, Any], of_csv: bool) -> None:
    text = f"({text}) and a == a"
    condition = Condition(text, "data.keep")
    found = {name: str(value) for name, value in values.items()} if of_csv else values
    try:
        expected = eval(text, {"__builtins__": {}}, dict(values))
    except ZeroDivisionError:
        with pytest.raises(UnfitValue, match="cannot be computed"):
            condition(found.get)
    else:
        assert condition(found.get) is bool(expected)


@settings(max_examples=60)
@given(
    text=conditions(),
    values=st.fixed_dictionaries(dict.fromkeys(NAMES, st.none() | NUMBERS)),
    filled=st.fixed_dictionaries(dict.fromkeys(NAMES, NUMBERS)),
)
def test_what_is_known_holds_whatever_the_missing_values_are(
    text: str, values: Mapping[str, Any], filled: Mapping[str, Any]
) -> None:
    condition = Condition(f"({text}) and (a == a or True)", "data.keep")
    whole = {name: filled[name] if value is None else value for name, value in values.items()}
    try:
        known, of_whole = condition(values.get), condition(whole.get)
    except UnfitValue:  # of a division by zero
        return
    assert known in (None, of_whole)
    if None not in values.values():
        assert known is of_whole


@pytest.mark.parametrize(
    ("text", "row", "holds"),
    [
        ("aesthetic > 5", {"aesthetic": " 5.5 "}, True),
        ("aesthetic > 5", {"aesthetic": Decimal("4.5")}, False),
        ("aesthetic > 5", {"aesthetic": "1e1"}, True),
        ("aesthetic > 5", {"aesthetic": ""}, None),
        ("aesthetic > 5", {"aesthetic": "nan"}, None),
        ("aesthetic > 5", {"aesthetic": float("nan")}, None),
        ("not aesthetic > 5", {}, None),
        ("aesthetic > 5 or watermark < 0.5", {"watermark": 0.1}, True),
        ("aesthetic > 5 and watermark < 0.5", {"watermark": 0.9}, False),
        ("aesthetic is None or aesthetic > 5", {"aesthetic": "  "}, True),
        ("aesthetic is not None", {"aesthetic": 0}, True),
        ("width >= height", {"width": "64", "height": "128"}, False),
        ("width >= height", {"width": "b", "height": "a"}, True),
        ("width / height <= 2", {"width": 64, "height": "32"}, True),
        ('style == "photo"', {"style": "photo"}, True),
        ('style not in ["photo", "art"]', {"style": "art"}, False),
        ('"photo" not in style', {"style": "photograph"}, False),
        ('"photo" in tags', {"tags": ["art", "photo"]}, True),
        ('date >= "2020-01-01"', {"date": "2021-05-05"}, True),
        ("len(caption) > 3", {"caption": "four"}, True),
        ("not watermark", {"watermark": "False"}, True),
        ("watermark", {"watermark": "1"}, True),
        ("watermark == True", {"watermark": "true"}, True),
        ("watermark != True", {"watermark": False}, True),
        ("x == 9007199254740993", {"x": "9007199254740992"}, False),
        ("x < 5", {"x": "9" * 5000}, False),
        ("x\n  > 5", {"x": 6}, True),
        ('when > "2020-01-02"', {"when": date(2020, 1, 3)}, True),
        ('when > "2020-01-02"', {"when": datetime(2020, 1, 1, 23)}, False),
        ('when > "2020-01-02"', {"when": np.datetime64("2020-01-03")}, True),
        ("when is None", {"when": np.datetime64("NaT")}, True),
        ("when is None", {"when": NotATime(2020, 1, 1)}, True),
        ("watermark", {"watermark": np.bool_(True)}, True),
        ("x > 5", {"x": np.float32(5.5)}, True),
        ("x is None", {"x": np.float64("nan")}, True),
        ('"a" in tags', {"tags": np.array(["a", "b"])}, True),
        ("_2d > 5", {"_2d": 6}, True),
        ('"caf\u00e9" not in prompt', {"prompt": "a cafe\u0301"}, False),
        ('"cafe\u0301" in prompt', {"prompt": "a caf\u00e9"}, True),
        ('style == "caf\u00e9"', {"style": "cafe\u0301"}, True),
        ('style in ["x", "cafe\u0301"]', {"style": "caf\u00e9"}, True),
        ('"caf\u00e9" in tags', {"tags": ["cafe\u0301"]}, True),
        ("len(prompt) == 4", {"prompt": "cafe\u0301"}, True),
        ('tag == "#1" or "#" in text', {"tag": "#1"}, True),
    ],
)
def test_values_are_read_as_tables_have_them(text: str, row: Mapping[str, Any], holds: bool | None) -> None:
    assert Condition(text, "data.keep")(row.get) is holds


@pytest.mark.parametrize(
    ("text", "row", "told"),
    [
        ("aesthetic > 5", {"aesthetic": "n/a"}, "aesthetic is 'n/a', no number"),
        ("aesthetic > 5", {"aesthetic": "5,5"}, "aesthetic is '5,5', no number"),
        ("aesthetic > 5", {"aesthetic": "1_0"}, "no number"),
        ("aesthetic > 5", {"aesthetic": [6]}, "aesthetic is a list, no number"),
        ('style == "5"', {"style": 5}, "style is 5, no text"),
        ("watermark", {"watermark": "no"}, "neither true nor false"),
        ("watermark", {"watermark": 2}, "neither true nor false"),
        ("len(x) > 1", {"x": 1}, "has no length"),
        ('"a" in x', {"x": 1}, "neither a text nor a list"),
        ("1 / x > 1", {"x": 0}, "cannot be computed"),
        ("x / 3 > 1", {"x": 10**999}, "cannot be computed"),
    ],
)
def test_a_value_that_does_not_fit_is_told(text: str, row: Mapping[str, Any], told: str) -> None:
    with pytest.raises(UnfitValue, match=told):
        Condition(text, "data.keep")(row.get)
    assert Condition(f"other == 1 and {text}", "data.keep")({"other": 2, **row}.get) is False


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "cannot be read"),
        ("aesthetic = 5", "maybe you meant '=='|invalid"),
        ("aesthetic > 5 &&", "cannot be read"),
        ("aesthetic", None),
        ("5", "neither true nor false"),
        ("True", "names nothing"),
        ("1 < 2", "names nothing"),
        ("a + 1", "neither true nor false"),
        ("(a > 1) & (b > 1)", "write `and`"),
        ("a | b", "write `or`"),
        ("~a", "write `not`"),
        ("clip.score > 1", "a column of this name is written `clip_score`"),
        ('a > "5"', "write it without quotes"),
        ('a == "x" == 5', "never alike"),
        ('"x" == 5 == a', "never alike"),
        ("a == None", "asks whether a value is missing"),
        ('a == ""', "`NAME is None` asks for it"),
        ("a is 5", "whether a value is missing"),
        ("a > True", "neither more nor less"),
        ("a in []", "there must be a list"),
        ("a in [b]", "only numbers and quoted texts"),
        ("5 in a", "whether a quoted text"),
        ('-"x" > a', "no number to compute with"),
        ('a + "x" > 1', "no number to compute with"),
        ("__import__('os').system('true')", "is not for conditions"),
        ("a.__class__ == 1", "has a dot in it"),
        ("open('x') == a", "is not for conditions"),
        ("len(open('x')) == a", "is not for conditions"),
        ("len(a, b) == 1", "is not for conditions"),
        ("eval('1') == a", "is not for conditions"),
        ("9**9**9**9 > a", "is not for conditions"),
        ("a << 99999999999 > 1", "is not for conditions"),
        ("a // 2 == 1", "is not for conditions"),
        ("a % 2 == 1", "is not for conditions"),
        ("[x for x in a]", "is not for conditions"),
        ("any(x > 1 for x in a)", "is not for conditions"),
        ("(lambda: a)()", "is not for conditions"),
        ("(a := 5) > 1", "is not for conditions"),
        ("a[0] > 1", "is not for conditions"),
        ("f'{a}' == 'x'", "is not for conditions"),
        ("b'a' == a", "is not for conditions"),
        ("5j == a", "is not for conditions"),
        ("... == a", "is not for conditions"),
        ("a if b else c", "is not for conditions"),
        ("{a} == 1", "is not for conditions"),
        ("a > 1; b", "cannot be read"),
        ("a > 1  # good\nand b > 1", "`#` would leave out all that follows .'# good and b > 1'"),
        ("a > 1 # and b > 1", "write it without comments"),
        ("(a > 1  # good\nand b > 1)", "`#` would leave out"),
        ("import os", "cannot be read"),
        ("a > \0", "cannot be read"),
        ("a == '\ud800'", "cannot be read"),
        ("a > " + "9" * 5000, "cannot be read"),
        ("not " * 300 + "a", "levels deep"),
        ("(" * 150 + "a" + ")" * 150, None),
        ("(" * 3000 + "a" + ")" * 3000, "cannot be read"),
        ("-" * 9000 + "a > 1", "cannot be read|levels deep"),
        ("+".join("a" * 2000) + " > 1", "cannot be read|levels deep"),
        ("a > 1 or " * 9000 + "a", "letters"),
    ],
)
def test_anything_else_is_refused_in_one_line(text: str, told: str | None) -> None:
    if told is None:
        Condition(text, "data.keep")
        return
    with pytest.raises(UserError, match=told) as refused:
        Condition(text, "data.keep")
    assert str(refused.value).startswith("data.keep")
    assert len(str(refused.value)) < 700


def test_names_are_what_columns_are_called() -> None:
    assert Condition('(a > 1 or b < 2) and c in ["x"] and a != 3', "data.keep").names == ["a", "b", "c"]
    names = ["aesthetic score", " WIDTH ", "clip.score", "class", "标签", "a-b", "2d"]
    assert [as_name(name) for name in names] == [
        "aesthetic_score",
        "WIDTH",
        "clip_score",
        "class_",
        "标签",
        "a_b",
        "_2d",
    ]
