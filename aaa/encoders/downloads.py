"""Downloads of pretrained weights and data sets, from where DiffSynth gets them and by its environment variables.

`DIFFSYNTH_DOWNLOAD_SOURCE` is `modelscope` (the default) or `huggingface`, `DIFFSYNTH_SKIP_DOWNLOAD=True` forbids
downloads, `DIFFSYNTH_MODEL_BASE_PATH` says where models lie.
"""

import contextlib
import io
import logging
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import shorten

from filelock import FileLock

from aaa.errors import reason
from aaa.tracking.printed import command

logger = logging.getLogger(__name__)
for noisy in ("httpx", "httpx2"):  # they would tell of every request
    logging.getLogger(noisy).setLevel(logging.WARNING)

# What errors of a network have in them, whichever library they come through.
NO_NETWORK = re.compile(r"NameResolution|Name or service|ConnectError|Connection(Error| refused)|timed out")
A_CAUSE_TO_NAME = re.compile(r"SSL|[Pp]roxy|ResponseError")

# What went wrong, by the source that could not be reached, or by it and what it does not have: nobody should have to
# wait for that to fail once more.
_failures: dict[tuple[str, ...], str] = {}


def download_source() -> str:
    """`modelscope` or `huggingface`."""
    return os.environ.get("DIFFSYNTH_DOWNLOAD_SOURCE", "modelscope").lower()


def may_download() -> bool:
    """Whether the environment does not forbid it."""
    return os.environ.get("DIFFSYNTH_SKIP_DOWNLOAD", "").lower() != "true"


def model_folder(model_id: str) -> Path:
    """Where the files of a model lie, or should."""
    return Path(os.environ.get("DIFFSYNTH_MODEL_BASE_PATH", "models")) / model_id


def fetch_model_files(model_id: str, names: Sequence[str]) -> None:
    """Download these files of a model through DiffSynth's `ModelConfig`, if that is possible.

    What went wrong is told as a warning; that files are still missing is for the caller to see.
    """

    def fetch() -> None:
        from diffsynth.core import ModelConfig

        with contextlib.redirect_stdout(io.StringIO()):  # a box of text about environment variables
            for name in names:
                ModelConfig(model_id=model_id, origin_file_pattern=name).download_if_necessary()

    folder = model_folder(model_id)
    _try(
        f"{model_id} ({', '.join(names)})",
        folder,
        fetch,
        lock=folder / ".download.lock",
        is_there=lambda: all((folder / name).is_file() for name in names),
    )


def fetch_dataset(dataset_id: str, folder: Path) -> str:
    """Download a data set, if that is possible.

    Returns:
        How to do it by hand, for when the folder is still not there.
    """
    partial = folder.with_name(f"{folder.name}.partial")

    def fetch() -> None:
        if download_source() == "huggingface":
            from huggingface_hub import snapshot_download

            snapshot_download(dataset_id, repo_type="dataset", local_dir=partial)
        else:
            from modelscope import dataset_snapshot_download

            dataset_snapshot_download(dataset_id, local_dir=str(partial))
        shutil.rmtree(partial / ".cache", ignore_errors=True)
        partial.rename(folder)

    _try(dataset_id, folder, fetch, lock=folder.with_name(f".{folder.name}.download.lock"), is_there=folder.exists)
    return (
        f"By hand: {command('modelscope', 'download', '--dataset', dataset_id, '--local_dir', str(folder))}\n"
        f"  or: {command('hf', 'download', dataset_id, '--repo-type', 'dataset', '--local-dir', str(folder))}\n"
        "  Or give another folder of pictures with data.root=PATH."
    )


def _try(what: str, folder: Path, fetch: Callable[[], None], *, lock: Path, is_there: Callable[[], bool]) -> None:
    """Download, where nobody forbids it and it has not failed before, unless another process has just done so."""
    if not may_download():
        return
    source = download_source()
    if (failure := _failures.get((source,)) or _failures.get((source, what))) is not None:
        logger.warning("%s is not downloaded either: %s.", what, failure)
        return
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(lock).acquire()
    except OSError as error:
        logger.warning("%s cannot be downloaded: %s cannot be written (%s).", what, lock.parent, reason(error))
        return
    with held:
        if not is_there():
            _download(what, folder, fetch)


def _download(what: str, folder: Path, fetch: Callable[[], None]) -> None:
    source = download_source()
    logger.info("Downloading %s from %s into %s", what, source, folder)
    try:
        fetch()
    except Exception as error:
        text = (str(error).splitlines() or [type(error).__name__])[0]
        is_of_network = NO_NETWORK.search(str(error)) is not None
        has_a_cause = A_CAUSE_TO_NAME.search(str(error)) is not None
        failure = shorten(text, 300, placeholder=" ...")
        if is_of_network and not has_a_cause:
            failure = f"{source} cannot be reached"
        _failures[(source,) if is_of_network else (source, what)] = failure
        logger.warning(
            "The download failed: %s. DIFFSYNTH_DOWNLOAD_SOURCE=huggingface or modelscope chooses the source.", failure
        )
