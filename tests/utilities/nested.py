"""Checkpoints that hold lists in lists, deeper than anybody walks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch


def save_nested(checkpoint: dict[str, Any], key: str, path: Path, leaf: Any = None) -> None:
    """Saves a checkpoint with a thousand lists in each other under a key."""
    value = leaf
    for _ in range(1000):
        value = [value]
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        torch.save({**checkpoint, key: value}, path)
    finally:
        sys.setrecursionlimit(limit)
