"""Words that a model knows are kept beside it as they are."""

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aaa.encoders.words import WordEmbedding
from aaa.saved.words_file import read_words, told_unknown, write_words


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_every_word_of_any_prompt_is_known_again(tmp_path: Path, prompts: list[str]) -> None:
    words = [word for prompt in prompts for word in WordEmbedding(32, 8).tokenize(prompt)]
    write_words(tmp_path, set(words))
    known = read_words(tmp_path)
    assert known == set(words)
    assert told_unknown(words, known) is None


def test_a_model_that_says_nothing_of_its_words_warns_of_none(tmp_path: Path) -> None:
    assert read_words(tmp_path) is None


def test_each_unknown_word_is_told_once_with_what_may_be_meant() -> None:
    told = told_unknown(["a", "sqare", ",", "cat", "sqare"], {"a", "square", "at"})
    assert told is not None
    assert told.startswith("The model was never shown 'sqare' (did you mean 'square'?), 'cat': ")
