"""Prompts of one's own that a run draws beside its records: `sampling.prompts`."""

import logging
from functools import partial
from pathlib import Path

import torch
from omegaconf import DictConfig, ListConfig

from aaa.assembly.own_prompts import OwnPrompts, embed_own_prompts
from aaa.assembly.parts import build_encoders
from aaa.assembly.training_data import TrainingData
from aaa.config.prompts import KEY, file_of_prompts, own_prompts
from aaa.encoders.protocols import LearnsWords
from aaa.run.folder import recorded, run_around
from aaa.run.machines import told
from aaa.run.session import Session
from aaa.run.trained_words import trained_words
from aaa.saved.words_file import told_unknown

logger = logging.getLogger(__name__)

NAMED = 3  # prompts that a warning lists
LONGEST = 60  # letters of each there


def open_own_prompts(config: DictConfig, session: Session, data: TrainingData) -> OwnPrompts | None:
    """The prompts of one's own that a run is to draw, embedded; the first process does it, and tells the others.

    Args:
        config: of the run.
        session: its device, and its processes.
        data: with the cache whose text encoder embeds them.

    Returns:
        None where there are none, or nothing is drawn.

    Raises:
        UserError: if they cannot be read or embedded.
    """
    if config.sampling.get("prompts") is None:
        return None
    if not config.trainer.sample_every_steps:
        logger.warning("%s: nothing is drawn, with trainer.sample_every_steps=0.", KEY)
        return None
    return told(session.processes, partial(_embedded, config, data, str(session.device)))


def _embedded(config: DictConfig, data: TrainingData, device: str) -> OwnPrompts:
    prompts = _recorded(config) or own_prompts(config)
    assert prompts is not None
    with torch.random.fork_rng(devices=[]):  # an encoder may draw what its weights are loaded into
        embedded = embed_own_prompts(config, data.cache, prompts, device)
        if config.init_from is None:  # of whose words nobody knows
            _warn_of_unknown(config, data, embedded)
    _warn_of_cut(embedded)
    return embedded


def _recorded(config: DictConfig) -> list[str] | None:
    """The prompts that the run that goes on or is repeated has drawn so far, where their file is gone; else None."""
    file = file_of_prompts(config)
    before = config.output_dir if config.resume == "auto" else config.resume or config.repeat
    if file is None or file.exists() or before is None:
        return None
    run = run_around(Path(before), levels=2)
    prompts = None if run is None else recorded(run, KEY)
    if not isinstance(prompts, ListConfig):
        return None
    logger.warning("%s=%s: is not there any more. Drawn are the prompts that the run has had from it.", KEY, file)
    return [str(prompt) for prompt in prompts]


def _warn_of_cut(own: OwnPrompts) -> None:
    seen = own.prompt_embeds.shape[1]
    cut = [prompt for prompt, tokens in zip(own.prompts, own.lengths, strict=True) if tokens > seen]
    if cut:
        logger.warning("%s: the model sees the first %d tokens, and %s have more.", KEY, seen, _listed(cut))


def _warn_of_unknown(config: DictConfig, data: TrainingData, own: OwnPrompts) -> None:
    _, text_encoder = build_encoders(config)
    known = trained_words(text_encoder, data)
    if known is None or not isinstance(text_encoder, LearnsWords):
        return
    seen = own.prompt_embeds.shape[1]
    words = [word for prompt in own.prompts for word in text_encoder.learned_words(prompt)[:seen]]
    if (unknown := told_unknown(words, known)) is not None:
        logger.warning("%s: %s", KEY, unknown)


def _listed(prompts: list[str]) -> str:
    """The first of them, in quotes and not too long."""
    shown = [f"'{prompt[:LONGEST]}{'...' if len(prompt) > LONGEST else ''}'" for prompt in prompts[:NAMED]]
    return ", ".join(shown) + (f" and {len(prompts) - NAMED} more" if len(prompts) > NAMED else "")
