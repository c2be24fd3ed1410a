"""What a run writes of its model into the header of a file of weights."""

import json
from dataclasses import asdict

from aaa.saved.weights_file import DiTNumbers


def model_header(numbers: DiTNumbers) -> str:
    """`model` in the file's metadata, in which `read_dit_numbers` finds heads and what else leaves no trace."""
    return json.dumps(asdict(numbers))
