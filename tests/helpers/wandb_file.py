"""Reads what W&B wrote offline: its `.wandb` file is a LevelDB log of protocol-buffer records."""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BLOCK, HEADER = 32768, struct.Struct("<IHB")
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass
class OfflineRun:
    run_id: str = ""
    group: str = ""
    name: str = ""
    project: str = ""
    entity: str = ""
    job_type: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    exit_code: int | None = None
    notes: str = ""
    summary: dict[str, Any] = field(default_factory=dict)
    lowest: list[str] = field(default_factory=list)  # metrics whose lowest value the summary has
    artifacts: list[Any] = field(default_factory=list)


def written_offline_run(run_folder: Path) -> OfflineRun:
    """The newest W&B run under a folder, logged by this process: its service writes the last of it when it ends."""
    import wandb

    wandb.teardown()
    return read_offline_run(run_folder)


def read_offline_run(run_folder: Path) -> OfflineRun:
    """The newest W&B run under a folder, logged by a process that has ended."""
    path = max(run_folder.glob("wandb/*run-*/*.wandb"), key=lambda file: file.stat().st_mtime)
    return _parse(path)


def _parse(path: Path) -> OfflineRun:
    from wandb.proto import wandb_internal_pb2

    found = OfflineRun()
    for data in _log_records(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            found.run_id, found.group, found.name, found.project = (
                run.run_id,
                run.run_group,
                run.display_name,
                run.project,
            )
            found.tags, found.notes = list(run.tags), run.notes
            found.entity, found.job_type = run.entity, run.job_type
            found.config |= {update.key: json.loads(update.value_json) for update in run.config.update}
        elif kind == "history":
            row = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            found.history.append(row)
        elif kind == "summary":
            found.summary |= {
                item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.summary.update
            }
        elif kind == "metric":
            if record.metric.summary.min:
                found.lowest.append(record.metric.name)
        elif kind == "artifact":
            found.artifacts.append(record.artifact)
        elif kind == "exit":
            found.exit_code = record.exit.exit_code
    return found


def _log_records(content: bytes) -> Iterator[bytes]:
    assert content[:4] == b":W&B"
    position, parts = 7, []
    while position + HEADER.size <= len(content):
        left = BLOCK - position % BLOCK
        if left < HEADER.size:
            position += left
            continue
        _, length, kind = HEADER.unpack_from(content, position)
        position += HEADER.size
        parts.append(content[position : position + length])
        position += length
        if kind in (FULL, LAST):
            yield b"".join(parts)
            parts = []
        else:
            assert kind in (FIRST, MIDDLE)
