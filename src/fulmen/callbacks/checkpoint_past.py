"""What files of earlier versions of Lightning tell of a ranking of checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from fulmen.callbacks import checkpoint_files as files


def with_ranking(state: Mapping[str, Any], monitor: str | None, save_top_k: int) -> dict[str, Any]:
    """The state of a ``ModelCheckpoint`` with a ranking, where it has the best file alone, as before 1.7.

    Args:
        state: The state.
        monitor: The metric by which files are ranked.
        save_top_k: How many are kept.

    Returns:
        The state. The best file is ranked if it is there still, so that no worse one takes its place.
    """
    found = {"best_model_path": "", **state}
    if "best_k_models" in state:
        return found
    for name in ("best_model_score", "current_score"):
        if found.get(name) is not None:
            found[name] = torch.as_tensor(found[name])
    path, score = found["best_model_path"], found.get("best_model_score")
    if monitor is not None and score is not None and save_top_k != 0 and path and files.exists(path):
        found["best_k_models"] = {path: score}
        if save_top_k in (-1, 1):
            found.update(kth_best_model_path=path, kth_value=score)
    return found
