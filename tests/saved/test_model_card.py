"""A model card is what it says, whatever a run and its captions are called."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from aaa.saved.model_card import example_prompt, model_card

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


@pytest.mark.parametrize("prompt", ["a red circle", "quotes \" and '", "two\nlines \\ and ) num_images=4, seed=0)"])
def test_the_example_of_a_card_is_read_again(tmp_path: Path, prompt: str) -> None:
    assert example_prompt(tmp_path) is None
    card = model_card(named("a"), parameters=9, metrics=METRICS, device="cpu", prompt=prompt, has_samples=True)
    (tmp_path / "README.md").write_text(card, encoding="utf-8")
    assert example_prompt(tmp_path) == prompt


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
    assert list(metadata) == ["library_name", "pipeline_tag", "license", "license_name", "tags"]
    assert isinstance(metadata["license_name"], str)
    lines = text.splitlines()
    assert all(line.isprintable() for line in lines)
    assert [line for line in lines if line.startswith("```")] == ["```python", "```"]
    snippet = text.split("```python\n")[1].split("\n```\n")[0]
    assert odd in [node.value for node in ast.walk(ast.parse(snippet)) if isinstance(node, ast.Constant)]
    assert len([line for line in lines if line.startswith("| ")]) == 10
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 3 for line in lines if line.startswith("| "))
    assert not re.search(r"(?<!\\)[<\[`*]", lines[1])


@pytest.mark.parametrize(
    ("licence", "identifier", "name"),
    [
        ("apache-2.0", "apache-2.0", None),
        ("CC BY 4.0", "cc-by-4.0", None),
        ("CC BY-SA 4.0", "cc-by-sa-4.0", None),
        (None, "other", None),
        ("Nintendo's", "other", "Nintendo's"),
    ],
)
def test_a_licence_is_what_hubs_call_it_or_another(licence: str | None, identifier: str, name: str | None) -> None:
    config = named("a")
    config["data"]["license"] = licence
    card = model_card(config, parameters=9, metrics=METRICS, device="cpu", prompt="a", has_samples=False)
    metadata = yaml.safe_load(card.split("---")[1])
    assert (metadata["license"], metadata.get("license_name")) == (identifier, name)


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


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"attribution": "By me."}, "By me."),
        ({"license": None}, "Trained on a, whose licence the run was not told (data.license, data.attribution)."),
        ({"license": "cc0"}, "Trained on a (cc0)."),
    ],
)
def test_what_it_was_trained_on_has_the_licence_that_the_run_was_told(changed: dict[str, Any], told: str) -> None:
    config = named("a")
    config["data"] |= changed
    card = model_card(config, parameters=9, metrics=METRICS, device="cpu", prompt="a", has_samples=False)
    assert f"## Data and licence\n\n{told}\n" in card


THEY_ARE = "which are not part of this folder and have licences of their own."
TAEF2 = {"_target_": "aaa.encoders.flux2_tiny.Flux2TinyVAE", "path": "models/taef2"}


@pytest.mark.parametrize(
    ("vae", "text_encoder", "needed"),
    [
        ({"_target_": "aaa.encoders.pixel.PixelVAE"}, {"_target_": "aaa.encoders.words.WordEmbedding"}, None),
        ({"model_id": "FLUX"}, {"model_id": "Qwen"}, f"FLUX and Qwen, {THEY_ARE}"),
        (TAEF2, {}, "madebyollin/taef2 at models/taef2 (encoder.vae.path in config.json), which is not part of this "),
        (
            TAEF2,
            {"package": "gt_minilm", "folder": "model", "extra": "minilm"},
            "madebyollin/taef2 at models/taef2 (encoder.vae.path in config.json) and "
            rf'the package gt_minilm (pip install -e ".\[minilm\]"), {THEY_ARE}',
        ),
        (
            {"_target_": "mine.VAE", "path": "/a/vae"},
            {"_target_": "aaa.encoders.text_model.TextModelEncoder", "path": "/home/alice/t5"},
            "a VAE at /a/vae (encoder.vae.path in config.json) and "
            f"a text model at /home/alice/t5 (encoder.text_encoder.path in config.json), {THEY_ARE}",
        ),
    ],
)
def test_what_else_a_model_needs_is_told(vae: dict[str, str], text_encoder: dict[str, str], needed: str | None) -> None:
    config = named("a") | {"encoder": {"name": "a", "vae": vae, "text_encoder": text_encoder}}
    config |= {"scheduler": {}, "sampling": {}}
    card = model_card(config, parameters=9, metrics=METRICS, device="cpu", prompt="a", has_samples=False)
    if needed is None:
        assert "It needs" not in card
    else:
        assert f"It needs {needed}" in card


def test_a_card_says_which_records_were_trained_on() -> None:
    config = named("a")
    assert "trained on records with" not in written(config)
    config["data"]["keep"] = "aesthetic > 5 and watermark < 0.5"
    assert "| trained on records with | aesthetic \\> 5 and watermark \\< 0.5 |" in written(config)
    config["data"] |= {"keep": None, "parts": {"b": {"keep": "width >= 256"}, "c": {"keep": None}}}
    assert "| trained on records with | b: width \\>= 256 |" in written(config)


def written(config: dict[str, Any]) -> str:
    return model_card(config, parameters=9, metrics=METRICS, device="cpu", prompt="", has_samples=False)
