"""Which numbers pictures can be drawn with, wherever they are asked for."""

from aaa.errors import UserError

MAX_SEED = 2**63 - 1
RANGES: dict[str, tuple[float, float]] = {
    "steps": (1, 10_000),
    "guidance": (-1000, 1000),  # float32 overflows long after pictures are nothing but black
    "seed": (0, MAX_SEED),
    "num_images": (1, 100_000),
    "height": (1, 16_384),
    "width": (1, 16_384),
    "heads": (1, 65_536),
    "port": (0, 65_535),
}


def require_ranges(prefix: str = "", **numbers: float | None) -> None:
    """Refuse numbers that no picture can be drawn with.

    Args:
        prefix: before their names in the message, such as `sampling.`.
        numbers: by the names of `RANGES`; None is whatever the default is.

    Raises:
        UserError: naming the number and its range.
    """
    for name, value in numbers.items():
        low, high = RANGES[name]
        if value is not None and not low <= value <= high:
            raise UserError(f"{prefix}{name}={value}: must be at least {low} and at most {high}.")
