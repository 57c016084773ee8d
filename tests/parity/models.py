"""The models of the hook tests: a plain one, and what others change in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau, StepLR

from .recorder import STEPS


def module_class(pl: Any) -> type:
    """The plain model that the others change in one point."""

    class Automatic(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 2)

        def training_step(self, batch: torch.Tensor, batch_idx: int) -> Any:
            return self.layer(batch).pow(2).mean()

        def validation_step(self, batch: torch.Tensor, batch_idx: int, dataloader_idx: int = 0) -> Any:
            value = self.layer(batch).pow(2).mean()
            self.log("value", value)
            return value

        def test_step(self, batch: torch.Tensor, batch_idx: int, dataloader_idx: int = 0) -> Any:
            self.log("value", self.layer(batch).pow(2).mean())

        def predict_step(self, batch: torch.Tensor, batch_idx: int, dataloader_idx: int = 0) -> Any:
            return self.layer(batch).sum()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    return Automatic


Changes = Callable[[type], dict[str, Any]]
MODULES: dict[str, Changes] = {"automatic": lambda base: {}}


def _module(changes: Changes) -> Changes:
    MODULES[changes.__name__.strip("_")] = changes
    return changes


def _sgd(self: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(self.parameters(), 0.1)


@_module
def _plain_steps(base: type) -> dict[str, Any]:
    """Steps without ``dataloader_idx``, and one that wants the batch alone."""

    def training_step(self: Any, batch: torch.Tensor) -> Any:
        return self.layer(batch).mean()

    def validation_step(self: Any, batch: torch.Tensor, batch_idx: int) -> None: ...

    return {"training_step": training_step, "validation_step": validation_step}


@_module
def _no_optimizer(base: type) -> dict[str, Any]:
    return {"configure_optimizers": lambda self: None}


@_module
def _returns_dict(base: Any) -> dict[str, Any]:
    def training_step(self: Any, batch: torch.Tensor, batch_idx: int) -> Any:
        return {"loss": base.training_step(self, batch, batch_idx), "extra": torch.ones(3)}

    return {"training_step": training_step}


@_module
def _skips_second(base: Any) -> dict[str, Any]:
    """The second batch of each epoch has no loss."""

    def training_step(self: Any, batch: torch.Tensor, batch_idx: int) -> Any:
        return None if batch_idx == 1 else base.training_step(self, batch, batch_idx)

    return {"training_step": training_step}


@_module
def _leaves_epoch(base: type) -> dict[str, Any]:
    """The third batch ends the epoch before it is trained on."""

    def on_train_batch_start(self: Any, batch: Any, batch_idx: int) -> Any:
        return -1 if batch_idx == 2 else None

    return {"on_train_batch_start": on_train_batch_start, "configure_optimizers": _with_schedulers}


@_module
def _leaves_every_epoch(base: type) -> dict[str, Any]:
    return {"on_train_batch_start": lambda self, batch, batch_idx: -1}


@_module
def _stops_in_step(base: Any) -> dict[str, Any]:
    """Asks to stop in the second step of the run."""

    def training_step(self: Any, batch: torch.Tensor, batch_idx: int) -> Any:
        if self.trainer.global_step == 1:
            self.trainer.should_stop = True
        return base.training_step(self, batch, batch_idx)

    return {"training_step": training_step, "configure_optimizers": _with_schedulers}


@_module
def _stops_in_validation(base: type) -> dict[str, Any]:
    def on_validation_end(self: Any) -> None:
        self.trainer.should_stop = not self.trainer.sanity_checking

    return {"on_validation_end": on_validation_end}


@_module
def _stops_at_epoch_end(base: type) -> dict[str, Any]:
    def on_train_epoch_end(self: Any) -> None:
        self.trainer.should_stop = True

    return {"on_train_epoch_end": on_train_epoch_end}


@_module
def _steps_itself(base: type) -> dict[str, Any]:
    """An ``optimizer_step`` that gives the closure to the optimizer."""

    def optimizer_step(self: Any, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        optimizer.step(closure=optimizer_closure)

    return {"optimizer_step": optimizer_step}


@_module
def _steps_every_other(base: Any) -> dict[str, Any]:
    """An ``optimizer_step`` that only runs the closure on every other batch."""

    def optimizer_step(self: Any, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        if batch_idx % 2:
            optimizer_closure()
        else:
            base.optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure)

    return {"optimizer_step": optimizer_step}


@_module
def _lbfgs(base: type) -> dict[str, Any]:
    return {"configure_optimizers": lambda self: torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=3)}


def _with_schedulers(self: Any) -> Any:
    optimizer = _sgd(self)
    each: list[tuple[LRScheduler, str]] = [(StepLR(optimizer, 1), "epoch"), (StepLR(optimizer, 1), "step")]
    return [optimizer], [{"scheduler": scheduler, "interval": interval} for scheduler, interval in each]


@_module
def _schedulers(base: type) -> dict[str, Any]:
    return {"configure_optimizers": _with_schedulers}


@_module
def _slow_schedulers(base: type) -> dict[str, Any]:
    """Schedulers that step every second time only."""

    def configure_optimizers(self: Any) -> Any:
        optimizer = _sgd(self)
        config = {"scheduler": StepLR(optimizer, 1), "frequency": 2}
        return [optimizer], [{**config, "interval": interval} for interval in ("step", "epoch")]

    return {"configure_optimizers": configure_optimizers}


def _plateau_on(monitor: str, **options: Any) -> Callable[[Any], Any]:
    def configure_optimizers(self: Any) -> Any:
        optimizer = _sgd(self)
        scheduler = ReduceLROnPlateau(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": monitor, **options}}

    return configure_optimizers


@_module
def _plateau(base: type) -> dict[str, Any]:
    return {"configure_optimizers": _plateau_on("value", strict=False)}


@_module
def _plateau_step(base: type) -> dict[str, Any]:
    return {"configure_optimizers": _plateau_on("value", strict=False, interval="step")}


@_module
def _plateau_slow(base: type) -> dict[str, Any]:
    return {"configure_optimizers": _plateau_on("value", strict=False, frequency=2)}


def _manual_with(step: Callable[[Any, torch.Tensor], Any], optimizers: Callable[[Any], Any] = _sgd) -> Changes:
    def changes(base: Any) -> dict[str, Any]:
        def __init__(self: Any) -> None:
            base.__init__(self)
            self.automatic_optimization = False

        def training_step(self: Any, batch: torch.Tensor, batch_idx: int) -> Any:
            return step(self, batch)

        return {"__init__": __init__, "training_step": training_step, "configure_optimizers": optimizers}

    return changes


def _manual_step(self: Any, batch: torch.Tensor) -> Any:
    optimizer = self.optimizers()
    loss = self.layer(batch).pow(2).mean()
    optimizer.zero_grad()
    self.manual_backward(loss)
    self.clip_gradients(optimizer, gradient_clip_val=0.5, gradient_clip_algorithm="norm")
    optimizer.step()
    return loss


def _manual_two_step(self: Any, batch: torch.Tensor) -> None:
    for optimizer in self.optimizers():
        self.toggle_optimizer(optimizer)
        loss = self.layer(batch).pow(2).mean()
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        self.untoggle_optimizer(optimizer)
    if self.trainer.is_last_batch:
        self.lr_schedulers().step()


def _two_optimizers(self: Any) -> Any:
    optimizers = [_sgd(self), _sgd(self)]
    return optimizers, [StepLR(optimizers[0], 1)]


def _manual_closure_step(self: Any, batch: torch.Tensor) -> Any:
    optimizer = self.optimizers()

    def closure() -> torch.Tensor:
        loss = self.layer(batch).pow(2).mean()
        optimizer.zero_grad()
        self.manual_backward(loss)
        return loss

    optimizer.step(closure=closure)


MODULES["manual"] = _manual_with(_manual_step)
MODULES["manual_two"] = _manual_with(_manual_two_step, _two_optimizers)
MODULES["manual_closure"] = _manual_with(_manual_closure_step)
MODULES["manual_idle"] = _manual_with(lambda self, batch: {"anything": batch})


def _raising(name: str, exception: type[BaseException], argument: Any = "wanted") -> Changes:
    def changes(base: type) -> dict[str, Any]:
        def method(self: Any, *args: Any, **kwargs: Any) -> None:
            raise exception(argument)

        def step(self: Any, batch: Any, batch_idx: int) -> None:
            raise exception(argument)

        return {name: step if name in STEPS else method}

    return changes


for _name in ("training_step", "validation_step", "test_step", "predict_step", "on_train_epoch_end", "teardown"):
    MODULES[f"raises_in_{_name}"] = _raising(_name, ValueError)
for _name in ("training_step", "validation_step"):
    MODULES[f"interrupted_in_{_name}"] = _raising(_name, KeyboardInterrupt)
MODULES["exits_in_training_step"] = _raising("training_step", SystemExit, 3)
