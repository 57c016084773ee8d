"""Checkpoints in the layouts of old versions of PyTorch Lightning."""

from __future__ import annotations

import copy
from typing import Any

import torch

KEY = (
    "ModelCheckpoint{'monitor': None, 'mode': 'min', 'every_n_train_steps': 0, 'every_n_epochs': 1, "
    "'train_time_interval': None%s}"
)


def progress(count: int, *names: str) -> dict[str, Any]:
    return {"total": dict.fromkeys(names, count), "current": dict.fromkeys(names, count)}


def _steps(count: int) -> dict[str, Any]:
    return progress(count, "ready", "completed")


def _batches(count: int) -> dict[str, Any]:
    return progress(count, "ready", "completed", "started", "processed")


def _evaluation(prefix: str = "") -> dict[str, Any]:
    return {
        f"{prefix}state_dict": {},
        f"{prefix}dataloader_progress": _steps(1),
        f"{prefix}epoch_loop.state_dict": {},
        f"{prefix}epoch_loop.batch_progress": {**_batches(2), "is_last_batch": True},
    }


def loops(steps: int = 10, epochs: int = 3) -> dict[str, Any]:
    """The counts of a run, as versions 1.5 to 1.9 kept them."""
    return {
        "fit_loop": {
            "state_dict": {},
            "epoch_loop.state_dict": {},
            "epoch_loop.batch_progress": {**_batches(steps), "is_last_batch": True},
            "epoch_loop.scheduler_progress": _steps(0),
            "epoch_loop.batch_loop.state_dict": {},
            "epoch_loop.batch_loop.optimizer_loop.state_dict": {},
            "epoch_loop.batch_loop.optimizer_loop.optim_progress": {
                "optimizer": {
                    "step": _steps(steps),
                    "zero_grad": progress(steps, "ready", "completed", "started"),
                },
                "optimizer_position": 1,
            },
            "epoch_loop.batch_loop.manual_loop.state_dict": {},
            "epoch_loop.batch_loop.manual_loop.optim_step_progress": _steps(0),
            **_evaluation("epoch_loop.val_loop."),
            "epoch_progress": _batches(epochs),
        },
        "validate_loop": _evaluation(),
        "test_loop": _evaluation(),
        "predict_loop": _evaluation(),
    }


def checkpoint(version: str, **more: Any) -> dict[str, Any]:
    """A checkpoint of 10 steps in 3 epochs."""
    made: dict[str, Any] = {
        "epoch": 3,
        "global_step": 10,
        "pytorch-lightning_version": version,
        "state_dict": {"layer.weight": torch.ones(1, 2), "layer.bias": torch.ones(1)},
        "optimizer_states": [torch.optim.SGD(torch.nn.Linear(2, 1).parameters(), 0.1).state_dict()],
        "lr_schedulers": [],
        "callbacks": {KEY % ", 'save_on_train_epoch_end': True": {"best_model_path": "x"}},
    }
    return copy.deepcopy({**made, **more})


WITH_LOOPS = ("1.5.0", "1.6.0", "1.6.4", "1.7.3", "1.9.0", "1.9.5")
WITHOUT_LOOPS = ("1.0.0", "1.2.10", "1.4.9")


def all_versions() -> dict[str, dict[str, Any]]:
    """One checkpoint of each kind, by version."""
    found = {version: checkpoint(version) for version in WITHOUT_LOOPS}
    return {**found, **{version: checkpoint(version, loops=loops()) for version in WITH_LOOPS}}
