"""What tells whether a file is whole and the one that was meant."""

import hashlib
from pathlib import Path


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of what is in a file."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
