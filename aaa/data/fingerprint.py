"""What shaped a latent cache, as a hash: change any of it and there is another cache.

What that is, is listed in assembly/latents.py; here is how it is hashed.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from aaa.data.file_digests import FileDigests
from aaa.data.records import Source

AT_ONCE = 2**16  # records


def fingerprint(parts: Mapping[str, Any]) -> str:
    """Hex SHA-256 of anything JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def records_fingerprint(source: Source, digests: FileDigests) -> str:
    """Hash of every record's key, split, prompts and content, and of files that records share."""
    total = hashlib.sha256()
    files = list(getattr(source, "files", ()))
    for digest in digests.digest_all(files):
        total.update(digest.encode())
    for start in range(0, len(source), AT_ONCE):
        records = [source[index] for index in range(start, min(start + AT_ONCE, len(source)))]
        paths = iter(digests.digest_all([record.path for record in records if record.path is not None]))
        for record in records:
            content = "" if record.path is None else next(paths)
            if record.path is None and record.digest is not None and not files:
                content = record.digest()
            prompts = record.prompt if record.prompts is None else list(record.prompts.items())
            total.update(json.dumps([record.key, record.split, prompts, content]).encode())
    return total.hexdigest()
