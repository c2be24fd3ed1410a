"""Which words a run is trained on, told from its records."""

from types import SimpleNamespace
from typing import Any, cast

import torch

from aaa.assembly.training_data import TrainingData
from aaa.data.cached_records import CachedRecord
from aaa.encoders.protocols import TextEncoder
from aaa.encoders.words import WordEmbedding
from aaa.run.trained_words import trained_words

PROMPTS = [["a red cat", "the cat"], ["a dog"], ["one two three four five"]]


def data(trained_on: Any) -> TrainingData:
    records = [CachedRecord(str(number), prompts, None) for number, prompts in enumerate(PROMPTS)]
    return cast(TrainingData, SimpleNamespace(cache=SimpleNamespace(records=records), train_records=trained_on))


def test_words_are_those_of_all_prompts_that_are_trained_on_as_far_as_they_are_seen() -> None:
    found = trained_words(WordEmbedding(32, 3), data(torch.tensor([0, 2])))
    assert found == {"a", "red", "cat", "the", "one", "two", "three"}


def test_they_are_not_told_of_data_that_is_not_listed_nor_of_an_encoder_that_knows_more() -> None:
    assert trained_words(WordEmbedding(32, 3), data(object())) is None
    knowing = SimpleNamespace(prompt_dim=8, max_length=3, words=["a", "vocabulary"])
    assert trained_words(cast(TextEncoder, knowing), data(torch.tensor([0]))) is None
