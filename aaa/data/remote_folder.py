"""A folder anywhere that fsspec reaches: files are fetched whole or not at all."""

import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import fsspec
import torch

from aaa.data.cache_folder import Outline
from aaa.data.file_hash import sha256_of
from aaa.errors import UserError, reason

logger = logging.getLogger(__name__)

ATTEMPTS, PAUSE_SECONDS = 5, 0.5  # the pause doubles each time
HEAD_BYTES = 2**16  # that the header of a shard fits in
DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}

T = TypeVar("T")


class NotWholeError(Exception):
    """What came is not what should have come."""


class RemoteFolder:
    """Reads files of a folder.

    fsspec's own `filecache` and `blockcache` drop files by age and never by size, have no checksum, and give a file its
    final name before it is there; so files are fetched by the plain file system, and kept by `LocalShards`.

    Args:
        address: such as `s3://bucket/folder`, `https://host/folder`, `/a/path`.

    Raises:
        UserError: if there is no such kind of address, or a package that it needs is missing.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        try:
            self._files, self._root = fsspec.core.url_to_fs(self.address)
        except ImportError as error:
            needed = re.search(r"\b(s3fs|gcsfs|adlfs)\b", str(error))
            how = f"pip install {needed[1]}" if needed else reason(error)
            raise UserError(f"data.address={address}: what reads such addresses is not installed: {how}") from None
        except ValueError as error:
            raise UserError(f"data.address={address}: there is no way to read it ({reason(error)}).") from None

    def read(self, name: str) -> bytes:
        """A small file.

        Raises:
            UserError: if it cannot be read.
        """
        return self._tried(name, lambda path: bytes(self._files.cat_file(path)))

    def fetch(self, name: str, to: Path, nbytes: int | None, sha256: str | None) -> None:
        """Copy a file, and see whether it came whole.

        Args:
            name: of it.
            to: where nothing of it must be taken for the file before this returns.
            nbytes, sha256: what it has, as far as that is known.

        Raises:
            UserError: if it did not come whole, after several attempts.
        """

        def fetch(path: str) -> None:
            self._files.get_file(path, str(to))
            if nbytes is not None and (found := to.stat().st_size) != nbytes:
                raise NotWholeError(f"{found} of {nbytes} bytes came")
            if sha256 is not None and sha256_of(to) != sha256:
                raise NotWholeError("its SHA-256 is not that in index.json")

        self._tried(name, fetch)

    def outline(self, name: str) -> Outline:
        """What a shard holds, from its first bytes alone.

        Raises:
            UserError: if these cannot be read, or are none of a shard.
        """
        head = self._tried(name, lambda path: bytes(self._files.cat_file(path, start=0, end=HEAD_BYTES)))
        length = int.from_bytes(head[:8], "little")
        if 8 + length > len(head) >= HEAD_BYTES:
            head = self._tried(name, lambda path: bytes(self._files.cat_file(path, start=0, end=8 + length)))
        try:
            tensors = json.loads(head[8 : 8 + length])
            end = max(tensor["data_offsets"][1] for key, tensor in tensors.items() if key != "__metadata__")
            return outline_of(tensors["latents"], tensors["prompt_embeds"], 8 + length + end)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self.address}/{name}: no shard of a latent cache ({reason(error)}).") from None

    def _tried(self, name: str, read: Callable[[str], T]) -> T:
        path = f"{self._root}/{name}"
        for attempt in range(ATTEMPTS):
            try:
                return read(path)
            except FileNotFoundError:
                raise UserError(f"{self.address}/{name}: there is no such file.") from None
            except Exception as error:  # each file system has errors of its own, and most pass
                if attempt == ATTEMPTS - 1:
                    raise UserError(
                        f"{self.address}/{name}: cannot be read, tried {ATTEMPTS} times "
                        f"({type(error).__name__}: {reason(error)})."
                    ) from error
                logger.warning("%s/%s: %s; trying again.", self.address, name, reason(error))
                time.sleep(PAUSE_SECONDS * 2**attempt)
        raise AssertionError("the last attempt returns or raises")


def outline_of(latents: Mapping[str, Any], prompt_embeds: Mapping[str, Any], nbytes: int) -> Outline:
    """What a shard holds whose tensors have these shapes and types, as safetensors writes them.

    Raises:
        KeyError: if a type is unknown.
    """
    return Outline(_outlined(latents), _outlined(prompt_embeds), nbytes)


def _outlined(tensor: Mapping[str, Any]) -> torch.Tensor:
    return torch.empty(tensor["shape"], dtype=DTYPES[tensor["dtype"]], device="meta")


def told(outline: Outline) -> tuple[dict[str, Any], dict[str, Any], int]:
    """The same as JSON can hold it."""
    names = {dtype: name for name, dtype in DTYPES.items()}
    latents, prompt_embeds = (
        {"shape": list(tensor.shape), "dtype": names[tensor.dtype]}
        for tensor in (outline.latents, outline.prompt_embeds)
    )
    return latents, prompt_embeds, outline.nbytes
