"""Which words a run is trained on."""

from aaa.assembly.training_data import TrainingData
from aaa.encoders.protocols import SplitsWords, TextEncoder

MOST_RECORDS = 200_000  # seconds; of more, the words that are not there are few


def trained_words(text_encoder: TextEncoder, data: TrainingData) -> set[str] | None:
    """Those of all prompts that are trained on; None where the encoder knows others too, or there is too much data."""
    if not isinstance(text_encoder, SplitsWords) or len(data.cache.records) > MOST_RECORDS:
        return None
    held_out = set(data.held_out.tolist())
    prompts = {
        prompt
        for index in range(len(data.cache.records))
        if index not in held_out
        for prompt in data.cache.records[index].prompts
    }
    return {word for prompt in prompts for word in text_encoder.words(prompt)}
