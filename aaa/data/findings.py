"""What a build found out about its records: each thing said once, with how many and which."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aaa.data.cached_records import CachedRecord
from aaa.encoders.words import without_spaces

logger = logging.getLogger(__name__)

LISTED = 3
# What tables have in place of a text that is missing, where a program has written that down as text.
WORDS_FOR_NOTHING = frozenset({"nan", "none", "null", "n/a", "#n/a", "<na>"})


@dataclass
class Findings:
    """Counts over the records of a build.

    Attributes:
        max_length: tokens of a prompt that the text encoder keeps.
        by_words: whether the text encoder knows no more of a language than where its words end.
        encoded: records so far.
        reused: those that earlier caches held.
        prompts: of them, mirrored or not.
        cut_prompts: those with more tokens.
        empty_prompts: records whose first prompt is empty.
        placeholders: records whose first prompt is one of `WORDS_FOR_NOTHING`.
        spaceless_prompts: prompts in a script without spaces between words.
        noticed: of how pictures were read, each thing that their owner should know, with how many have it.
    """

    max_length: int
    by_words: bool
    encoded: int = 0
    reused: int = 0
    prompts: int = 0
    cut_prompts: int = 0
    empty_prompts: int = 0
    placeholders: int = 0
    spaceless_prompts: int = 0
    noticed: Counter[str] = field(default_factory=Counter)
    _first_empty: list[str] = field(default_factory=list)
    _first_placeholders: list[str] = field(default_factory=list)
    _first_noticed: dict[str, list[str]] = field(default_factory=dict)

    def add(self, records: Sequence[CachedRecord], prompt_tokens: Sequence[int], reused: int) -> None:
        """Count records, with the tokens of each of their prompts, and how many of them an earlier cache held."""
        self.encoded += len(records)
        self.reused += reused
        self.prompts += len(prompt_tokens)
        self.cut_prompts += sum(tokens > self.max_length for tokens in prompt_tokens)
        empty = [record.key for record in records if not record.prompt.strip()]
        self.empty_prompts += len(empty)
        self._first_empty += empty[: LISTED - len(self._first_empty)]
        placeholders = [record.key for record in records if record.prompt.strip().lower() in WORDS_FOR_NOTHING]
        self.placeholders += len(placeholders)
        self._first_placeholders += placeholders[: LISTED - len(self._first_placeholders)]
        if self.by_words:
            said = (prompt for record in records if not record.flipped for prompt in record.prompts)
            self.spaceless_prompts += sum(without_spaces(prompt) for prompt in said)

    def note(self, notices: Iterable[str], key: str) -> None:
        """Keep that the picture of the record with this key has these things."""
        for notice in notices:
            self.noticed[notice] += 1
            if self.noticed[notice] <= LISTED:
                self._first_noticed.setdefault(notice, []).append(key)

    def say(self) -> None:
        """Log what there is to say."""
        if self.reused:
            were = "was" if self.reused == 1 else "were"
            logger.info("Of %d records %d %s encoded already and taken over.", self.encoded, self.reused, were)
        if self.cut_prompts:
            logger.warning(
                "%d of %d prompts %s longer than %d tokens and %s cut; encoder.max_prompt_tokens=N keeps more.",
                self.cut_prompts,
                self.prompts,
                "is" if self.cut_prompts == 1 else "are",
                self.max_length,
                "was" if self.cut_prompts == 1 else "were",
            )
        if self.spaceless_prompts:
            logger.warning(
                "%s in a script without spaces, of which text_encoder=words takes every character for a "
                "word. A language model (text_encoder=qwen3) knows their words.",
                "1 prompt is" if self.spaceless_prompts == 1 else f"{self.spaceless_prompts} prompts are",
            )
        for notice, count in self.noticed.items():
            first = ", ".join(self._first_noticed[notice])
            logger.warning("Of %d records the pictures of %d have %s, e.g. %s", self.encoded, count, notice, first)
        if self.empty_prompts:
            logger.warning(
                "%d of %d records %s an empty prompt, e.g. %s",
                self.empty_prompts,
                self.encoded,
                "has" if self.empty_prompts == 1 else "have",
                ", ".join(self._first_empty),
            )
        if self.placeholders:
            logger.warning(
                "%d of %d records %s a prompt such as 'nan' or 'None', which tables have where there is no text, "
                "e.g. %s; such words are trained on.",
                self.placeholders,
                self.encoded,
                "has" if self.placeholders == 1 else "have",
                ", ".join(self._first_placeholders),
            )


def say_of_earlier(build: Mapping[str, Any], max_length: int) -> None:
    """Log what a cache, encoded by an earlier run, is without, and what there is to know of its pictures.

    Args:
        build: counts that its index keeps; of early versions there are none.
        max_length: tokens of a prompt that it keeps.
    """
    skipped, cut = build.get("skipped", 0), build.get("cut_prompts", 0)
    without = []
    if skipped:
        without.append(
            "1 record that could not be read" if skipped == 1 else f"{skipped} records that could not be read"
        )
    if cut:
        without.append(f"what {'1 prompt has' if cut == 1 else f'{cut} prompts have'} beyond {max_length} tokens")
    if without:
        logger.info("These latents were encoded earlier, without %s.", " and ".join(without))
    for notice, count in build.get("notices", {}).items():
        logger.info("Of %d records, encoded earlier, the pictures of %d have %s.", build["records"], count, notice)
