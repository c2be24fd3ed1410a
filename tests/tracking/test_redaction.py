"""Secrets are hidden however the config has them."""

from typing import Any

import pytest

from aaa.tracking import redaction
from aaa.tracking.redaction import HIDDEN, hide_argument, hide_from_now_on, redact, redacted, without_secrets


@pytest.fixture(autouse=True)
def _nothing_hidden_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_of_configs", set())


@pytest.mark.parametrize(
    "named",
    ["${oc.env:MY_KEY}", "${oc.env:'MY_KEY'}", "${oc.env:MY_KEY,null}", "Bearer ${oc.env:MY_KEY}", "${oc.env: MY_KEY}"],
)
def test_a_secret_that_the_config_takes_from_the_environment_is_hidden(
    monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv("MY_KEY", "planted-in-the-environment")
    monkeypatch.setenv("MY_PLACE", "somewhere-else")
    hide_from_now_on({"logger": {"api_key": named, "project": "${oc.env:MY_PLACE}"}})
    assert redact("sent planted-in-the-environment to somewhere-else") == f"sent {HIDDEN} to somewhere-else"


def test_special_tokens_of_a_tokenizer_are_no_secrets() -> None:
    names = [f"{kind}_token" for kind in ("pad", "mask", "bos", "eos", "unk", "cls", "sep")]
    config = {"text_encoder": dict.fromkeys(names, "<|endoftext|>"), "hub_token": "abc", "unmask_token": "abc"}
    hidden = without_secrets(config)
    assert hidden == config | {"hub_token": HIDDEN, "unmask_token": HIDDEN}
    argument = "encoder.text_encoder.pad_token='<|endoftext|>'"
    assert hide_argument(argument) == argument
    assert hide_argument("encoder.hub_token='<|endoftext|>'") == f"encoder.hub_token={HIDDEN}"


def test_a_variable_that_is_not_set_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    hide_from_now_on({"api_key": "${oc.env:MY_KEY}"})
    assert redact("a message") == "a message"


def test_a_secret_that_is_a_number_is_hidden() -> None:
    config = {"logger": {"password": 12345678, "token": 1.5, "auth": True, "secret": None}, "max_prompt_tokens": 16}
    assert without_secrets(config) == {
        "logger": {"password": HIDDEN, "token": HIDDEN, "auth": True, "secret": None},
        "max_prompt_tokens": 16,
    }
    hide_from_now_on(config)
    assert redact("login with 12345678 failed") == f"login with {HIDDEN} failed"
    assert hide_argument("+logger.password=12345678") == f"+logger.password={HIDDEN}"


def test_keys_and_tokens_of_other_services_are_hidden() -> None:
    names = ("secret_key", "Authorization", "auth_header", "signing_key", "MINIO_SECRET_KEY")
    assert without_secrets({"headers": dict.fromkeys(names, "x")}) == {"headers": dict.fromkeys(names, HIDDEN)}
    for secret in ("github_pat_11ABCDEFG0abcdefghij_klm", "glpat-abcdefghij0123456789", "abc.def-ghi~0123456789"):
        assert redact(f"Bearer {secret}!") == f"Bearer {HIDDEN}!"
    assert without_secrets({"authors": "x", "key": "y", "keys": "z"}) == {"authors": "x", "key": "y", "keys": "z"}


@pytest.mark.parametrize("word", ["postgres", "minioadmin", "admin123", "velocity"])
def test_a_config_is_not_changed_within_its_values_for_a_secret_that_is_a_word(
    monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    monkeypatch.setenv("MY_PASSWORD", word)
    config: dict[str, Any] = {
        "root": f"/data/{word}/cache",
        "sampler": {"_target_": f"aaa.{word}.Mine"},
        "names": [f"a={word}s"],
    }
    assert without_secrets(config) == config
    assert redact(config["root"]) == f"/data/{HIDDEN}/cache"  # of a log, which nobody reads back
    assert redacted(config)["root"] == f"/data/{HIDDEN}/cache"
    assert without_secrets({"login": word, "list": [word]}) == {"login": HIDDEN, "list": [HIDDEN]}
    for argument in (f"+logger.login={word}", f"+logger.login='{word}'"):
        assert hide_argument(argument) == f"+logger.login={HIDDEN}"
    assert hide_argument(f"data.root=/data/{word}") == f"data.root=/data/{word}"


def test_a_config_is_changed_within_its_values_for_any_other_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_PASSWORD", "x7Kq-9ZpL-0aBc")
    assert without_secrets({"at": "db x7Kq-9ZpL-0aBc"}) == {"at": f"db {HIDDEN}"}
    monkeypatch.setenv("MY_PASSWORD", "postgres")
    assert without_secrets({"at": "https://me:postgres@example.org"}) == {"at": f"https://{HIDDEN}@example.org"}
