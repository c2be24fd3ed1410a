"""Values as JSON has them, which knows no infinity and no NaN."""

import json
import math
from typing import Any


def plain_setting(value: Any) -> Any:
    """A value of a config; as text if it is, or holds, something that JSON has not."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return str(value)
    return value


def plain_number(value: Any) -> float | None:
    """A number that came out of a run; None if it is none, or not finite."""
    return value if isinstance(value, int | float) and math.isfinite(value) else None
