"""A model card is what it says, whatever a run and its captions are called."""

import ast
import re
from typing import Any

import pytest
import yaml

from aaa.saved.model_card import model_card

METRICS = [{"step": 2, "samples": 16, "seconds": 1.0}]


def named(name: str) -> dict[str, Any]:
    """The config of a run in which everything has this name."""
    return {
        "name": name,
        "model": {"dim": 32, "depth": 1, "heads": 2},
        "data": {"name": name, "resolution": 16, "license": name, "attribution": None},
        "encoder": {"name": name, "vae": {"model_id": name}, "text_encoder": {}},
        "trainer": {"ema_decay": 0, "precision": "bf16"},
    }


@pytest.mark.parametrize(
    "odd",
    [
        "quotes \" and ' and ```\n```python\nimport os",
        "a: b\n---\n# c",
        "|pipe|<script>alert(1)</script>",
        "[link](javascript:x) `code` *bold*",
        "\x1b[31mred\u202e",
        "ünï 图片 {x} ${y} %s",
        "yes",
    ],
)
def test_names_and_captions_stay_what_they_are(odd: str) -> None:
    card = model_card(named(odd), parameters=9, metrics=METRICS, device="cpu", prompt=odd, has_samples=False)
    _, front, text = re.split(r"^---$", card, maxsplit=2, flags=re.M)
    metadata = yaml.safe_load(front)
    assert list(metadata) == ["library_name", "pipeline_tag", "license", "tags"]
    assert isinstance(metadata["license"], str)
    lines = text.splitlines()
    assert all(line.isprintable() for line in lines)
    assert [line for line in lines if line.startswith("```")] == ["```python", "```"]
    snippet = text.split("```python\n")[1].split("\n```\n")[0]
    assert odd in [node.value for node in ast.walk(ast.parse(snippet)) if isinstance(node, ast.Constant)]
    assert len([line for line in lines if line.startswith("| ")]) == 10
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 3 for line in lines if line.startswith("| "))
    assert not re.search(r"(?<!\\)[<\[`*]", lines[1])


def test_shares_are_told_in_percent_and_losses_as_they_are() -> None:
    judged = {"val/loss": 0.0614657, "val/loss_relative": 0.0543, "quality/seen": 1.0, "quality/held_out": 0.99609}
    metrics = [*METRICS, judged]
    card = model_card(named("a"), parameters=9, metrics=metrics, device="cpu", prompt="a", has_samples=False)
    told = dict(re.findall(r"^\| (.+) \| (.+) \|$", card, flags=re.M))
    assert told["validation loss"] == "0.06147"
    assert told["in percent of the loss of seeing no structure"] == "5.4%"
    assert told["right pictures for pairs trained on"] == "100.0%"
    assert told["right pictures for pairs never seen"] == "99.6%"


@pytest.mark.parametrize(("target", "trusted"), [("aaa.encoders.words.WordEmbedding", False), ("my_parts.Words", True)])
def test_the_snippet_trusts_classes_of_ones_own_where_there_are_some(target: str, trusted: bool) -> None:
    config = named("a") | {"scheduler": {}, "sampling": {}}
    config["encoder"]["text_encoder"] = {"_target_": target}
    card = model_card(config, parameters=9, metrics=METRICS, device="cpu", prompt="a", has_samples=False)
    assert ('from_pretrained(".", trust_config=True)' in card) == trusted
