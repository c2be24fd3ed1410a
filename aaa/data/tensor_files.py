"""Files of tensors that others may read, as far as the system's umask lets them."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Save tensors as safetensors, which by itself lets nobody but the owner read its files.

    Raises:
        OSError, SafetensorError: if the file cannot be written.
    """
    path.touch()  # as other files are made: with the rights that the umask leaves
    rights = path.stat().st_mode
    save_file(dict(tensors), path, metadata=None if metadata is None else dict(metadata))
    path.chmod(rights)
