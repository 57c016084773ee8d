"""Reads the file that W&B writes for a run; W&B itself no longer has a reader in Python."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK = 32768


def records(path: Path) -> Iterator[Any]:
    """The records of a log in LevelDB's format: each in one piece, or in several."""
    from wandb.proto import wandb_internal_pb2

    data = path.read_bytes()
    assert data[:4] == b":W&B"
    place, parts = 7, b""
    while place + 7 <= len(data):
        left = BLOCK - place % BLOCK
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        if kind == 0:
            return
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def content(folder: Path) -> dict[str, Any]:
    """What the one run below ``folder`` holds, once it has ended; without W&B's own columns and settings."""
    (path,) = folder.rglob("run-*.wandb")
    end = time.monotonic() + 60
    # W&B's own process may be behind.
    while time.monotonic() < end and all(one.WhichOneof("record_type") != "exit" for one in records(path)):
        time.sleep(0.05)
    found: dict[str, Any] = {"history": [], "config": {}, "summary": {}, "metrics": [], "artifacts": [], "run": None}
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "history":
            row = {_key(item): json.loads(item.value_json) for item in record.history.item}
            found["history"].append({key: value for key, value in row.items() if not key.startswith("_")})
        elif kind in ("config", "summary"):
            for item in getattr(record, kind).update:
                if not _key(item).startswith("_"):
                    found[kind][_key(item)] = json.loads(item.value_json)
        elif kind == "metric":
            metric = record.metric
            found["metrics"].append((metric.name or metric.glob_name, metric.step_metric, metric.options.step_sync))
        elif kind == "artifact":
            about = record.artifact
            metadata = json.loads(about.metadata) if about.metadata else {}
            files = sorted(entry.path for entry in about.manifest.contents)
            found["artifacts"].append((about.name, about.type, metadata, sorted(about.aliases), files))
        elif kind == "run":
            run = record.run
            found["run"] = {"id": run.run_id, "project": run.project, "name": run.display_name, "tags": list(run.tags)}
            for item in run.config.update:
                if not item.key.startswith("_"):
                    found["config"][item.key] = json.loads(item.value_json)
    return found


def _key(item: Any) -> str:
    return item.key or ".".join(item.nested_key)
