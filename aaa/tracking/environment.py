"""What a run ran on: enough to say later why two runs differ."""

import hashlib
import json
import os
import platform
import subprocess
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from aaa.config.trust import read_json_config
from aaa.errors import UserError
from aaa.tracking.files import replace_text
from aaa.tracking.redaction import redacted, without_secrets
from aaa.tracking.variables import recorded_variables

ENVIRONMENT = "environment.json"  # in a run folder
PACKAGES = ("aaa", "accelerate", "diffsynth", "hydra-core", "numpy", "torch", "transformers", "wandb")
POINTS_ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")
LARGE_FILE = "4m"  # whose lines git does not compare, which takes it seconds
LONGEST = 2**20  # bytes of changes that are kept
TIMEOUT_SECONDS = 10


def write_environment(path: Path, device: str, records: dict[str, Any]) -> dict[str, Any]:
    """Write `environment.json`; returns what it says.

    Args:
        path: of the file.
        device: what the run computes on.
        records: what else to write, such as fingerprints of the data; it may be read back.

    Raises:
        UserError: if it cannot be written.
    """
    environment: dict[str, Any] = describe_environment(device) | without_secrets(records)
    replace_text(path, json.dumps(environment, indent=2))
    return environment


def read_environment(run: Path) -> dict[str, Any]:
    """What environment.json of a run folder says; nothing for a run that died before it wrote it."""
    try:
        return read_json_config(run / ENVIRONMENT)
    except UserError:
        return {}


def describe_environment(device: str) -> dict[str, Any]:
    """Command, versions, machine, device, environment variables, git commit and changes, without secrets."""
    environment = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": list(sys.argv),
        "folder": str(Path.cwd()),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "machine": platform.platform(),
        "cpus": os.cpu_count(),
        "device": device,
        "variables": recorded_variables(),
        "git": git_state(Path(__file__).parents[1] / "__init__.py"),
    }
    described: dict[str, Any] = redacted(environment)
    return described


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def git_state(file: Path) -> dict[str, Any] | None:
    """Commit and uncommitted changes (None if git cannot tell) of the checkout of a file; None for an installed one.

    Changes are `diff`, what git says of files that it knows, of much of it the beginning; and `new`, hashes of files of
    the package and of `conf/` beside it that it does not know.

    Args:
        file: at the top of the package. A repository that it merely lies in, as in somebody's `.venv`, is not asked
            anything.
    """
    package = file.parent
    if _git(package, "ls-files", "--error-unmatch", file.name) is None:
        return None
    commit = _git(package, "rev-parse", "HEAD")
    # Without what the user has set up for looking at changes; of large files git says that they differ, and in which
    # hash, without a look at their lines.
    plain = ("--no-ext-diff", "--no-textconv", "--no-color")
    diff = _git(package, "-c", f"core.bigFileThreshold={LARGE_FILE}", "diff", *plain, "HEAD")
    return None if commit is None else {"commit": commit, "diff": diff, "new": _new_files(package)}


def _new_files(package: Path) -> dict[str, str]:
    """SHA-256 of each file of a package and of `conf/` beside it that git does not know and is not told to ignore."""
    around = package.parent
    listed = _git(around, "ls-files", "--others", "--exclude-standard", "-z", "--", package.name, "conf") or ""
    hashes = {}
    for name in filter(None, listed.split("\0")):
        with suppress(OSError), (around / name).open("rb") as file:  # it is gone, or nobody may read it
            hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says, of much the beginning; None where it fails, or takes too long."""
    # In hooks git names the repository that it works on there, whichever folder it is then asked about.
    environment = {name: value for name, value in os.environ.items() if name not in POINTS_ELSEWHERE}
    command = ["git", "-C", str(folder), *arguments]
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    except OSError:
        return None
    in_time = threading.Timer(TIMEOUT_SECONDS, process.kill)
    in_time.start()
    with process:
        assert process.stdout is not None
        said = _beginning(process.stdout)
    in_time.cancel()
    return said if process.returncode == 0 else None


def _beginning(stream: IO[bytes]) -> str:
    """What comes, without white space around it; of more than `LONGEST` whole lines, and what tells the rest apart."""
    said, length, digest = b"", 0, hashlib.sha256()
    while some := stream.read(LONGEST):
        said = said or some
        length += len(some)
        digest.update(some)
    # Changes hold the bytes of whatever files were changed.
    text = said.decode("utf-8", errors="replace").strip()
    if length <= LONGEST:
        return text
    return f"{text.rpartition(chr(10))[0]}\n[{length} bytes in all, with SHA-256 {digest.hexdigest()}]"
