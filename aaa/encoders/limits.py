"""What can be asked of a text model: so many layers, so many tokens."""

from aaa.encoders.huggingface import HuggingFaceTextEncoder
from aaa.errors import UserError


def require_within_limits(encoder: HuggingFaceTextEncoder) -> None:
    """Refuse a layer that the model does not have, and more tokens than it has positions for.

    Raises:
        UserError: naming the key, or if the model cannot be loaded.
    """
    config = encoder._model.config
    layers, positions = config.num_hidden_layers, getattr(config, "max_position_embeddings", None)
    if not -layers - 1 <= encoder.layer <= layers:
        raise UserError(
            f"encoder.text_encoder.layer={encoder.layer}: the text model has {layers} layers. Give 0 for its "
            f"embeddings, 1 to {layers} for a layer, or -1 to {-layers - 1} to count from the last."
        )
    if positions is not None and encoder.max_length > positions:
        raise UserError(
            f"encoder.max_prompt_tokens={encoder.max_length}: the text model takes {positions} tokens at most."
        )
