"""Keeping keys, tokens and passwords out of everything that is written."""

import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from aaa.config.overrides import quoted
from aaa.tracking.printed import harmless

HIDDEN = "<hidden>"
_TOKEN = r"(?<!\b(?:pad|bos|eos|unk|cls|sep)_)(?<!\bmask_)token"  # those of a tokenizer are no secrets
SECRET_NAME = re.compile(
    rf"(api_?key|access_?key(_?id)?|auth|auth_?header|authorization|{_TOKEN}|password|passwd|passphrase|secret"
    r"|credentials?|(private|secret|signing)_?key)$",
    re.I,
)
LEAST_LENGTH = 6  # shorter values stand in ordinary text by chance
LEAST_UNLIKELY, LEAST_UNLIKELY_LETTERS = 12, 16  # shorter ones may be a part of a path or a name

# What the services that a run talks to give out, and a password within an address.
_KNOWN = re.compile(
    r"\bhf_[A-Za-z0-9]{20,}|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{20,}"
    r"|\bsk-[A-Za-z0-9_-]{20,}|\bAKIA[0-9A-Z]{16}\b|(?<=\bBearer )[\w.~+/-]{16,}"
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
)
# ${oc.env:MY_KEY}, ${oc.env:'MY_KEY',null}
_OF_ENVIRONMENT = re.compile(r"\$\{\s*oc\.env\s*:\s*['\"]?([^,'\"}\s]+)")
# api_key = "..." in code or JSON, --password ... and wandb_token=... on a command line
_QUOTED = re.compile(
    rf"((?:api_?key|{_TOKEN}|password|passwd|secret)[\"']?\s*[:=]\s*)([\"'])(?!<hidden>)[^\"'\s]{{6,}}\2", re.I
)


def without_secrets(config: Any) -> Any:
    """A config with the values of keys such as `api_key` or `password` hidden, and known secrets within others.

    It may be read back. So of a variable that is a mere word, `POSTGRES_PASSWORD=postgres`, only whole values are
    hidden: a folder /data/postgres stays one. Interpolations such as `${oc.env:MY_TOKEN}` stay: they name a secret and
    do not hold it.
    """
    return _without(config, _redact_value)


def redacted(record: Any) -> Any:
    """The same of what is written down for people: known secrets are hidden wherever they stand."""
    return _without(record, redact)


def hide_argument(argument: str) -> str:
    """A command-line argument, its value hidden as that of a config."""
    return _argument_without(argument, _redact_value)


def redact(text: str) -> str:
    """A text without the values of secret environment variables, or anything else that looks like a key."""
    return _redact(text, _known_secrets())


def _redact_value(value: str) -> str:
    """A value of a config without them."""
    secrets = _known_secrets()
    unlikely = [secret for secret in secrets if secret in _of_configs or not _is_word(secret)]
    return HIDDEN if value in secrets else _redact(value, unlikely)


def _is_word(secret: str) -> bool:
    """Whether a path or a name may have it in it by chance."""
    return len(secret) < (LEAST_UNLIKELY_LETTERS if secret.isalpha() else LEAST_UNLIKELY)


def _redact(text: str, secrets: Iterable[str]) -> str:
    for value in secrets:
        text = text.replace(value, HIDDEN)
    return _QUOTED.sub(rf"\1\2{HIDDEN}\2", _KNOWN.sub(HIDDEN, text))


def _without(config: Any, hide: Callable[[str], str]) -> Any:
    if isinstance(config, dict):
        return {key: HIDDEN if _is_secret(str(key), value) else _without(value, hide) for key, value in config.items()}
    if isinstance(config, list):
        # Texts of lists may be arguments of a command line.
        return [_argument_without(value, hide) if isinstance(value, str) else _without(value, hide) for value in config]
    return hide(config) if isinstance(config, str) else config


def _argument_without(argument: str, hide: Callable[[str], str]) -> str:
    key, equals, value = argument.partition("=")
    if equals and (_is_secret(key.rpartition(".")[2], value) or hide(value.strip("'\"")) == HIDDEN):
        return f"{key}={HIDDEN}"
    return hide(argument)


class RedactingFormatter(logging.Formatter):
    """Formats messages, tracebacks included, and then hides secrets in them."""

    def format(self, record: logging.LogRecord) -> str:
        """The message as it may be written, and as a terminal may show it."""
        return harmless(redact(super().format(record)))


def _is_secret(key: str, value: object) -> bool:
    if value is None or isinstance(value, bool | dict | list):
        return False
    return SECRET_NAME.search(key) is not None and not str(value).startswith("${") and str(value) != ""


def hide_from_now_on(config: Any) -> None:
    """Have `redact` hide the secrets of this config, whatever text they turn up in; those too that it only names."""
    for value in _secrets_in(config):
        if len(value) >= LEAST_LENGTH:
            _of_configs.update((value, quoted(value)[1:-1]))  # as it is, and as it stands in an override


_of_configs: set[str] = set()


def _secrets_in(config: Any, key: str = "") -> Iterator[str]:
    if isinstance(config, dict):
        for name, value in config.items():
            yield from _secrets_in(value, str(name))
    elif isinstance(config, list):
        for value in config:
            yield from _secrets_in(value)
    else:
        if _is_secret(key, config) and config != HIDDEN:
            yield str(config)
        if SECRET_NAME.search(key) and isinstance(config, str):
            yield from (os.environ.get(name, "") for name in _OF_ENVIRONMENT.findall(config))


def _known_secrets() -> list[str]:
    of_environment = {
        value for name, value in os.environ.items() if SECRET_NAME.search(name) and len(value) >= LEAST_LENGTH
    }
    return sorted(of_environment | _of_configs, key=len, reverse=True)
