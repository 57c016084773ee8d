"""A run of training reduced to what callbacks see of it: events in their order, counters, metrics and files."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import torch

from fulmen.utilities.states import TrainerFn, TrainerState


class Strategy:
    checkpoint_io = None
    root_device = torch.device("cpu")

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        return obj

    def all_gather_object(self, obj: Any) -> list[Any]:
        """Alone."""
        return [obj]

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        return decision

    def barrier(self, name: str | None = None) -> None:
        pass

    def remove_checkpoint(self, filepath: str) -> None:
        os.remove(filepath)


class SimulatedRun:
    """Fires the events of `fit` at one callback; ``val`` is logged by validation and is the step by default."""

    def __init__(self, callback: Any, root: Any = ".", **settings: Any) -> None:
        self.callback = callback
        self.default_root_dir = str(root)
        self.state = TrainerState(fn=TrainerFn.FITTING)
        self.strategy = Strategy()
        self.module = SimpleNamespace(automatic_optimization=True)
        self.callback_metrics: dict[str, torch.Tensor] = {}
        self.made_at: dict[str, int] = {}
        self.global_step = self.current_epoch = self.batches = self.accumulated = 0
        self.sanity_checking = self.fast_dev_run = self.should_stop = False
        self.is_global_zero, self.world_size, self.global_rank = True, 1, 0
        self.ckpt_path: str | None = None
        self.ckpt_named = True
        self.loggers: list[Any] = []
        self.optimizers: list[Any] = []
        self.lr_scheduler_configs: list[Any] = []
        self.accumulate_grad_batches = 1
        self.enable_validation, self.val_check_interval, self.check_val_every_n_epoch = True, 1.0, 1
        self.should_log = True
        self.num_training_batches: float = 4
        self.fit_loop = SimpleNamespace(epoch_loop=SimpleNamespace(_batches_that_stepped=0), validation=None)
        self.events: list[str] = []
        self.validate = lambda: self.log("val", self.global_step)
        self.train = lambda: None
        self.end_of_epoch = lambda: None
        self.before_write = lambda path: None
        self.__dict__.update(settings)

    @property
    def progress(self) -> Any:
        return SimpleNamespace(batch=0, batches=self.batches, steps=self.global_step, phase="batch")

    def metric_step(self, name: str) -> int | None:
        return self.made_at.get(name)

    def log_metrics(self, metrics: dict[str, float]) -> None:
        for logger in self.loggers:
            logger.log_metrics(metrics, step=self.fit_loop.epoch_loop._batches_that_stepped)

    def log(self, name: str, value: float) -> None:
        self.callback_metrics[name] = torch.tensor(float(value))
        self.made_at[name] = self.global_step

    def save_checkpoint(self, filepath: str, weights_only: bool | None = None) -> None:
        self.before_write(filepath)
        self.events.append(f"save {os.path.basename(filepath)}")
        os.makedirs(os.path.dirname(filepath), exist_ok=True)
        if os.path.islink(filepath):
            os.remove(filepath)
        state = self.callback.state_dict()
        torch.save({"epoch": self.current_epoch, "global_step": self.global_step, "state": state}, filepath)

    def fire(self, event: str, *args: Any) -> None:
        listens = getattr(self.callback, "listens_to", lambda _: True)
        if listens(event):
            getattr(self.callback, event)(self, self.module, *args)

    def run_validation(self) -> None:
        self.fire("on_validation_start")
        self.validate()
        self.fire("on_validation_end")

    def fit(self, epochs: int = 1, batches: int = 4, validate_every: int | None = None, setup: bool = True) -> Any:
        if setup:
            self.fire("setup", "fit")
        self.fire("on_fit_start")
        self.fire("on_train_start")
        every = validate_every or batches
        while self.current_epoch < epochs and not self.should_stop:
            self.fire("on_train_epoch_start")
            for index in range(batches):
                self.fire("on_train_batch_start", None, index)
                self.accumulated += 1
                if self.accumulated == self.accumulate_grad_batches or index + 1 == batches:
                    self.accumulated = 0
                    self.global_step += 1
                self.train()
                self.fire("on_train_batch_end", None, None, index)
                in_turn = self.check_val_every_n_epoch is None or (
                    (self.current_epoch + 1) % self.check_val_every_n_epoch == 0
                )
                self.batches += 1
                counted = self.batches if self.check_val_every_n_epoch is None else index + 1
                if self.enable_validation and in_turn and counted % every == 0:
                    self.run_validation()
            self.end_of_epoch()
            self.fire("on_train_epoch_end")
            self.current_epoch += 1
        self.fire("on_train_end")
        return self


def files(folder: Any) -> dict[str, int]:
    """Each checkpoint below a folder, and the step whose weights it holds."""
    found = {}
    for where, _, names in os.walk(folder):
        for name in names:
            if name.endswith(".ckpt"):
                path = os.path.join(where, name)
                step = torch.load(path, weights_only=False)["global_step"]
                found[os.path.relpath(path, folder).replace(os.sep, "/")] = step
    return found
