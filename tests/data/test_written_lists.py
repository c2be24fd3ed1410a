"""Lists of captions that a table holds as text are those that were written."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaa.data.written_lists import written_list

CAPTIONS = st.lists(st.text(st.characters(blacklist_categories=["Cs"]), max_size=12), min_size=1, max_size=4)


@given(CAPTIONS)
def test_a_list_is_read_back_as_python_or_json_writes_it(captions: list[str]) -> None:
    assert written_list(str(captions)) == written_list(json.dumps(captions)) == captions


@given(CAPTIONS)
def test_a_list_is_read_back_as_numpy_writes_it(captions: list[str]) -> None:
    with np.printoptions(threshold=100, linewidth=30):
        assert written_list(str(np.array(captions, dtype=object))) == captions


@pytest.mark.parametrize(
    ("text", "captions"),
    [
        ("""['say "hi" "there"', 'b']""", ['say "hi" "there"', "b"]),
        ("""["a 'b' 'c'", 'd']""", ["a 'b' 'c'", "d"]),
        ("['a cat' 'a pet']", ["a cat", "a pet"]),
        ("[]", []),
        ("[1, 2]", None),
        ("[['a'], ['b']]", None),
        ("[b'a']", None),
        ("[f'{a}']", None),
        ("[x for x in 'a']", None),
        ("['a", None),
        ("[a cat]", None),
        ("[" * 5000 + "]" * 5000, None),
        ("['a'] * 3]", None),
    ],
)
def test_what_is_a_list_of_texts(text: str, captions: Any) -> None:
    assert written_list(text) == captions
