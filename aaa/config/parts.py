"""What `aaa.encode` may be told of the part that it encodes."""

from omegaconf import DictConfig

from aaa.config.ranges import require_ranges
from aaa.config.schema import PartConfig
from aaa.errors import UserError


def check_part(encode: DictConfig) -> None:
    """Refuse a part that there is not.

    Raises:
        UserError: naming the keys.
    """
    require_ranges(PartConfig, encode, "encode.")
    part, parts = encode.part, encode.parts
    if part is not None and parts is None:
        raise UserError(f"encode.part={part}: of how many? encode.parts=N says it, to all of these jobs the same.")
    if part is not None and part >= parts:
        raise UserError(f"encode.part={part}: the last of encode.parts={parts} parts is {parts - 1}.")
