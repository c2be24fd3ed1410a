"""Which words a run is trained on."""

from torch import Tensor

from aaa.assembly.training_data import TrainingData
from aaa.encoders.protocols import LearnsWords, TextEncoder


def trained_words(text_encoder: TextEncoder, data: TrainingData) -> set[str] | None:
    """Those of all prompts that are trained on.

    Args:
        text_encoder: of the run.
        data: of the run.

    Returns:
        None where the encoder knows others too, and of data that is mixed or too large for its records to be listed.
    """
    if not isinstance(text_encoder, LearnsWords) or not isinstance(data.train_records, Tensor):
        return None
    records = (data.cache.records[index] for index in data.train_records.tolist())
    prompts = {prompt for record in records for prompt in record.prompts}
    return {word for prompt in prompts for word in text_encoder.learned_words(prompt)}
