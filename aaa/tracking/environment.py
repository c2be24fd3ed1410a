"""What a run ran on: enough to say later why two runs differ."""

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from aaa.config.trust import read_json_config
from aaa.errors import UserError
from aaa.tracking.files import replace_text
from aaa.tracking.redaction import hide_argument, without_secrets
from aaa.tracking.variables import recorded_variables

ENVIRONMENT = "environment.json"  # in a run folder
PACKAGES = ("aaa", "accelerate", "diffsynth", "hydra-core", "numpy", "torch", "transformers", "wandb")
POINTS_ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")


def write_environment(path: Path, device: str, records: dict[str, Any]) -> dict[str, Any]:
    """Write `environment.json`; returns what it says.

    Args:
        path: of the file.
        device: what the run computes on.
        records: what else to write, such as fingerprints of the data.

    Raises:
        UserError: if it cannot be written.
    """
    environment: dict[str, Any] = without_secrets(describe_environment(device) | records)
    replace_text(path, json.dumps(environment, indent=2))
    return environment


def read_environment(run: Path) -> dict[str, Any]:
    """What environment.json of a run folder says; nothing for a run that died before it wrote it."""
    try:
        return read_json_config(run / ENVIRONMENT)
    except UserError:
        return {}


def describe_environment(device: str) -> dict[str, Any]:
    """Command, versions, machine, device, environment variables, git commit and uncommitted changes."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [hide_argument(part) for part in sys.argv],
        "folder": str(Path.cwd()),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "machine": platform.platform(),
        "cpus": os.cpu_count(),
        "device": device,
        "variables": recorded_variables(),
        "git": git_state(Path(__file__)),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def git_state(file: Path) -> dict[str, str | None] | None:
    """Commit and uncommitted changes (None if git cannot tell) of the checkout of a file; None for an installed one.

    Args:
        file: of the package. A repository that it merely lies in, as in somebody's `.venv`, is not asked anything.
    """
    if _git(file.parent, "ls-files", "--error-unmatch", file.name) is None:
        return None
    commit = _git(file.parent, "rev-parse", "HEAD")
    # Without what the user has set up for looking at changes.
    diff = _git(file.parent, "diff", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD")
    return None if commit is None else {"commit": commit, "diff": diff}


def _git(folder: Path, *arguments: str) -> str | None:
    # In hooks git names the repository that it works on there, whichever folder it is then asked about.
    environment = {name: value for name, value in os.environ.items() if name not in POINTS_ELSEWHERE}
    try:
        result = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, env=environment, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    # Changes hold the bytes of whatever files were changed.
    return result.stdout.decode("utf-8", errors="replace").strip() if result.returncode == 0 else None
