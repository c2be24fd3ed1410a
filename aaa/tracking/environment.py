"""What a run ran on: enough to say later why two runs differ."""

import json
import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("aaa", "accelerate", "diffsynth", "hydra-core", "numpy", "torch", "transformers", "wandb")
SECRET = re.compile(r"(api_?key|token|password|passwd|secret|credentials?)$", re.IGNORECASE)
HIDDEN = "<hidden>"


def write_environment(path: Path, device: str, data: dict[str, str | None]) -> None:
    """Write `environment.json`.

    Args:
        path: of the file.
        device: what the run computes on.
        data: fingerprints of what it trains on and is validated on.
    """
    path.write_text(json.dumps(describe_environment(device) | {"data": data}, indent=2), encoding="utf-8")


def describe_environment(device: str) -> dict[str, Any]:
    """Command, versions, machine, device, git commit and uncommitted changes."""
    return {
        "command": [HIDDEN if SECRET.search(part.partition("=")[0]) else part for part in sys.argv],
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "machine": platform.platform(),
        "cpus": os.cpu_count(),
        "device": device,
        "git": _git_state(),
    }


def without_secrets(config: Any) -> Any:
    """The config with the values of keys such as `api_key` or `password` hidden."""
    if isinstance(config, dict):
        return {
            key: HIDDEN if value is not None and SECRET.search(str(key)) else without_secrets(value)
            for key, value in config.items()
        }
    if isinstance(config, list):
        return [without_secrets(value) for value in config]
    return config


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
