"""What can be asked of a text model: so many layers, so many tokens."""

import re

from torch import nn

from aaa.encoders.huggingface import HuggingFaceTextEncoder
from aaa.errors import UserError

# What tables of learned positions are called; models that turn or compare positions have none, and no last one.
POSITIONS = re.compile(r"(^|\.)(position_embeddings?|embed_positions|wpe)$")
OF_PICTURES = re.compile(r"vision|visual|image")  # parts of a model that has eyes too


def require_within_limits(encoder: HuggingFaceTextEncoder) -> None:
    """Refuse a layer that the model does not have, and more tokens than it has positions for.

    Raises:
        UserError: naming the key, or if the model cannot be loaded.
    """
    layers, positions = encoder._model.config.get_text_config().num_hidden_layers, _positions(encoder._model)
    if not -layers - 1 <= encoder.layer <= layers:
        raise UserError(
            f"encoder.text_encoder.layer={encoder.layer}: the text model has {layers} layers. Give 0 for its "
            f"embeddings, 1 to {layers} for a layer, or -1 to {-layers - 1} to count from the last."
        )
    if positions is not None and encoder.max_length > positions:
        raise UserError(
            f"encoder.max_prompt_tokens={encoder.max_length}: the text model takes {positions} tokens at most."
        )


def _positions(model: nn.Module) -> int | None:
    """How many tokens it has learned positions for; None if it has learned none."""
    parts = {name: part for name, part in model.named_modules() if POSITIONS.search(name)}
    tables = [p for name, p in parts.items() if isinstance(p, nn.Embedding) and not OF_PICTURES.search(name)]
    # RoBERTa's kind begins to count after the row of the padding, OPT's after two rows.
    return min((table.num_embeddings - _unused(table) for table in tables), default=None)


def _unused(table: nn.Embedding) -> int:
    return getattr(table, "offset", 0) if table.padding_idx is None else table.padding_idx + 1
