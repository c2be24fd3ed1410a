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
        "git": _git_state(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_state() -> dict[str, str] | None:
    """Commit and diff of the checkout that the package runs from, None for an installed one."""
    folder = Path(__file__).parent
    commit = _git(folder, "rev-parse", "HEAD")
    return None if commit is None else {"commit": commit, "diff": _git(folder, "diff", "HEAD") or ""}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None
