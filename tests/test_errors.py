"""The mistakes of a first-time user: each error names what was wrong and what to write instead, and comes early.

Every mistake is also made with PyTorch Lightning: an exception that a caller of Lightning can catch there catches ours.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader, Dataset, IterableDataset

import fulmen
from fulmen.utilities.exceptions import MisconfigurationException

QUIET: dict[str, Any] = {
    "logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False,
    "accelerator": "cpu", "max_epochs": 1,
}  # fmt: skip
steps: list[int] = []  # the training batches that were seen


class Items(Dataset[torch.Tensor]):
    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.ones(4)


class Stream(IterableDataset[torch.Tensor]):
    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter([torch.ones(4)] * 4)


def data(batches: int = 2) -> DataLoader[torch.Tensor]:
    return DataLoader(Items(2 * batches), batch_size=2)


def stream() -> DataLoader[torch.Tensor]:
    return DataLoader(Stream(), batch_size=2)


@cache
def plain(pl: Any) -> Any:
    """A module that trains."""

    class Net(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def training_step(self, batch: torch.Tensor, batch_idx: int) -> Any:
            steps.append(batch_idx)
            return self.layer(batch).sum()

        def configure_optimizers(self) -> Any:
            return SGD(self.parameters(), 0.1)

    return Net


def kind(base: Any, **members: Any) -> Any:
    return type("Net", (base,), members)


def net(pl: Any, **members: Any) -> Any:
    return kind(plain(pl), **members)()


def doing(pl: Any, act: Callable[..., Any], **members: Any) -> Any:
    """A module that does something in its first training step."""

    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        act(self, batch)
        return self.layer(batch).sum()

    return net(pl, training_step=training_step, **members)


def returning(pl: Any, make: Callable[..., Any]) -> Any:
    return net(pl, training_step=lambda self, batch, batch_idx: make(self.layer(batch)))


def logging(pl: Any, *args: Any, **kwargs: Any) -> Any:
    return doing(pl, lambda self, batch: self.log(*args, **kwargs))


def manual(pl: Any, act: Callable[..., Any]) -> Any:
    """The same under manual optimization."""

    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        return act(self, self.layer(batch).sum())

    return net(pl, training_step=training_step, automatic_optimization=False)


def scheduled(pl: Any, make: Callable[..., Any]) -> Any:
    return net(pl, configure_optimizers=lambda self: make(SGD(self.parameters(), 0.1)))


def validating(pl: Any, **members: Any) -> Any:
    step = {"validation_step": lambda self, batch, batch_idx: self.log("val_loss", 1.0)}
    return net(pl, **{**step, **members})


def trainer(pl: Any, **flags: Any) -> Any:
    return pl.Trainer(**{**QUIET, **flags})


def fit(pl: Any, module: Any, *loaders: Any, **flags: Any) -> Any:
    made = trainer(pl, **flags)
    made.fit(module, *(loaders or [data()]))
    return made


def fit_with(pl: Any, datamodule: Any, *loaders: Any) -> None:
    trainer(pl).fit(net(pl), *loaders, datamodule=datamodule)


def data_kind(pl: Any, **members: Any) -> Any:
    return kind(pl.LightningDataModule, **{"train_dataloader": lambda self: data(), **members})


def saved(pl: Any, weights_only: bool = False, **flags: Any) -> str:
    made = fit(pl, net(pl), **flags)
    made.save_checkpoint("saved.ckpt", weights_only=weights_only)
    steps.clear()
    return "saved.ckpt"


def weights_file(pl: Any) -> str:
    torch.save(net(pl).state_dict(), "weights.pt")
    return "weights.pt"


class Mistake(NamedTuple):
    """A mistake and what is said about it.

    Attributes:
        name: What somebody did.
        make: Does it, with one library or the other.
        rule: What the error says before its remedy.
        fix: What the error's remedy says.
        kind: What it can be caught as, beside ``MisconfigurationException``.
        late: Whether it can be known only while or after a step is run.
        here: Whether Lightning says nothing.
        accident: Whether Lightning fails with some exception that says nothing of the mistake.
    """

    name: str
    make: Callable[[Any], Any]
    rule: str
    fix: str
    kind: type[BaseException] = MisconfigurationException
    late: bool = False
    here: bool = False
    accident: bool = False


M = Mistake
MODULES = [
    M("no training_step", lambda pl: fit(pl, kind(pl.LightningModule, configure_optimizers=lambda self: None)()),
      "`Net` has no `training_step`", r"def training_step\(self, batch, batch_idx\)"),
    M("train_step", lambda pl: fit(pl, kind(pl.LightningModule, train_step=lambda self, batch: None)()),
      "has no `training_step`", "call your `train_step` that"),
    M("no optimizer", lambda pl: fit(pl, kind(pl.LightningModule, training_step=plain(pl).training_step)()),
      "has no `configure_optimizers`", r"def configure_optimizers\(self\).*torch\.optim"),
    M("no loader", lambda pl: trainer(pl).fit(net(pl)), "got no data", r"train_dataloaders=DataLoader\("),
    M("misnamed loader", lambda pl: trainer(pl).fit(net(pl, train_loader=lambda self: data())),
      "got no data", "call your `train_loader` that"),
    M("no validation_step", lambda pl: trainer(pl).validate(net(pl), data()), "has no `validation_step`",
      r"def validation_step\(self, batch, batch_idx\)"),
    M("no test_step", lambda pl: trainer(pl).test(net(pl), data()), "has no `test_step`", r"def test_step\(self"),
    M("nothing to predict with", lambda pl: trainer(pl).predict(net(pl), data()), "has no `predict_step`",
      r"def predict_step\(self, batch, batch_idx\)"),
    M("no test loader", lambda pl: trainer(pl).test(net(pl, test_step=lambda self, batch, batch_idx: None)),
      "no `test_dataloader`", r"trainer\.test\(model, dataloaders="),
    M("torch's Module", lambda pl: fit(pl, nn.Linear(4, 2)), "runs a `LightningModule`.*\n.*Linear",
      "Derive your class from `fulmen.LightningModule`", TypeError),
    M("a class of torch's", lambda pl: fit(pl, nn.Linear), "the class Linear", "fulmen.LightningModule", TypeError),
    M("a class", lambda pl: fit(pl, plain(pl)), "the class Net", r"`Net\(\.\.\.\)`, with parentheses", TypeError),
    M("data first", lambda pl: fit(pl, data(), net(pl)), "Received: DataLoader", "the model first", TypeError),
    M("no model", lambda pl: trainer(pl).validate(), "needs a model", r"trainer\.validate\(model", TypeError),
    M("no super().__init__()", lambda pl: fit(pl, kind(plain(pl), __init__=lambda self: None)()),
      "must call its base class", r"Write `super\(\).__init__\(\)` as the first line", accident=True),
    M("self.trainer alone", lambda pl: net(pl).trainer, "not attached to a Trainer", "in hooks and steps",
      RuntimeError),
    M("self.optimizers() alone", lambda pl: net(pl).optimizers(), "not attached", "in hooks and steps", RuntimeError),
    M("dtype set", lambda pl: setattr(net(pl), "dtype", torch.half), "cannot be set", r"module\.to\(", RuntimeError),
    M("loading on an instance", lambda pl: net(pl).load_from_checkpoint("some.ckpt"), "cannot be called on an instance",
      r"model = Net\.load_from_checkpoint\(", TypeError),
]  # fmt: skip
RETURNS = [
    M("a float", lambda pl: fit(pl, returning(pl, lambda out: 0.5)), "Received: float", "return loss", late=True),
    M("a tuple", lambda pl: fit(pl, returning(pl, lambda out: (out, 1))), "Received: tuple", "return loss", late=True),
    M("a dict without loss", lambda pl: fit(pl, returning(pl, lambda out: {"los": out.sum()})), r"keys \['los'\]",
      'return {"loss": loss', late=True),
    M("no loss in the dict", lambda pl: fit(pl, returning(pl, lambda out: {"loss": None})), "NoneType under it",
      'return {"loss": loss', late=True),
    M("a number in the dict", lambda pl: fit(pl, returning(pl, lambda out: {"loss": 0.5})), "float under it",
      'return {"loss": loss', late=True, accident=True),
    M("a detached loss", lambda pl: fit(pl, returning(pl, lambda out: out.sum().detach())), "no graph",
      r"without `.detach\(\)`", RuntimeError, late=True),
    M("the prediction", lambda pl: fit(pl, returning(pl, lambda out: out.argmax())), "no graph", "model's outputs",
      RuntimeError, late=True),
    M("a loss for each sample", lambda pl: fit(pl, returning(pl, lambda out: out.sum(1))), r"shape \(2,\)",
      r"`loss\.mean\(\)`", RuntimeError, late=True),
    M("frozen", lambda pl: fit(pl, net(pl).requires_grad_(False)), "no parameter", "parameters are frozen",
      RuntimeError, late=True),
    M("backward by hand", lambda pl: fit(pl, returning(pl, lambda out: (out.sum().backward(), out.sum())[1])),
      "backward ran on it already", "automatic_optimization = False", RuntimeError, late=True),
    M("loss_weight no number", lambda pl: fit(pl, returning(pl, lambda out: {"loss": out.sum(), "loss_weight": "x"}),
      accumulate_grad_batches=2), "loss_weight", r"mask\.sum\(\)", ValueError, late=True, here=True),
    M("a float under manual", lambda pl: fit(pl, manual(pl, lambda self, loss: 0.5)), "Received: float",
      "Leave the `return` out", late=True),
]  # fmt: skip


def metric_of_matrices(pl: Any) -> Any:
    torchmetrics = pytest.importorskip("torchmetrics")
    confusion = torchmetrics.ConfusionMatrix(task="multiclass", num_classes=4)

    def log(self: Any, batch: Any) -> None:
        confusion(batch.argmax(1), batch.argmax(1))
        self.log("matrix", confusion, on_epoch=True, prog_bar=True)

    module = doing(pl, log)
    module.confusion = confusion
    return module


def metric_of_nobody(pl: Any) -> Any:
    metric = pytest.importorskip("torchmetrics").MeanMetric()
    return doing(pl, lambda self, batch: self.log("mean", metric))


def changing(pl: Any, second: Any) -> Any:
    return doing(pl, lambda self, batch: (self.log("a", 1.0, on_epoch=True), self.log("a", second, on_epoch=True)))


def logging_in(pl: Any, hook: str, *arguments: str, **options: Any) -> Any:
    names = ", ".join(["self", *arguments])
    members: dict[str, Any] = {"options": options}
    exec(f"def {hook}({names}): self.log('a', 1.0, **self.options)", members)
    return net(pl, **{key: members[key] for key in (hook, "options")})


LOGS = [
    M("None", lambda pl: fit(pl, logging(pl, "a", None)), "NoneType", "returns a number", ValueError, late=True),
    M("text", lambda pl: fit(pl, logging(pl, "a", "0.5")), "str", r"float\(value\)", ValueError, late=True),
    M("a dict", lambda pl: fit(pl, logging(pl, "a", {"b": 1.0})), "dict", "self.log_dict", ValueError, late=True),
    M("a list", lambda pl: fit(pl, logging(pl, "a", [1.0])), "list", r"len\(values\)", ValueError, late=True),
    M("a vector", lambda pl: fit(pl, logging(pl, "a", torch.ones(3))), r"shape \(3,\)", r"value\.mean\(\)", ValueError,
      late=True),
    M("None, later", lambda pl: fit(pl, changing(pl, None)), "NoneType", "returns a number", ValueError, late=True),
    M("text, later", lambda pl: fit(pl, changing(pl, "x")), "str", r"float\(value\)", ValueError, late=True),
    M("a vector, later", lambda pl: fit(pl, changing(pl, torch.ones(2))), "shape", r"value\.mean\(\)", ValueError,
      late=True),
    M("a list to log_dict", lambda pl: fit(pl, doing(pl, lambda self, batch: self.log_dict([1.0]))), "mapping",
      r'self\.log_dict\({"loss": loss', late=True, accident=True),
    M("no name", lambda pl: fit(pl, logging(pl, 1, 1.0)), "is the key, a string", r'self\.log\("loss", loss\)',
      TypeError, late=True),
    M("a list as name", lambda pl: fit(pl, logging(pl, ["a"], 1.0)), "is the key, a string", r'self\.log\("loss"',
      TypeError, late=True),
    M("an unknown reduction", lambda pl: fit(pl, logging(pl, "a", 1.0, reduce_fx="std")), "reduce_fx='std'",
      "TorchMetrics metric", late=True),
    M("neither step nor epoch", lambda pl: fit(pl, logging(pl, "a", 1.0, on_step=False, on_epoch=False)),
      "logs nothing", "Set one of the two", late=True),
    M("batch_size no number", lambda pl: fit(pl, logging(pl, "a", 1.0, on_epoch=True, batch_size="x")),
      "number of samples", r"batch_size=x\.size\(0\)", TypeError, late=True),
    M("other options", lambda pl: fit(pl, doing(pl, lambda self, batch:
      (self.log("a", 1.0), self.log("a", 1.0, True)))), "prog_bar=False, then prog_bar=True", "another key", late=True),
    M("a loader in the key", lambda pl: fit(pl, logging(pl, "a/dataloader_idx_0", 1.0)), "appended to a key by itself",
      "add_dataloader_idx=False", late=True),
    M("no size to read", lambda pl: fit(pl, doing(pl, lambda self, batch: self.log("a", 1.0, on_epoch=True),
      on_after_batch_transfer=lambda self, batch, dataloader_idx: batch, forward=None), DataLoader(["a", "b"])),
      "cannot be read off", r"batch_size=len\(batch\)", late=True),
    M("a matrix of a metric", lambda pl: fit(pl, metric_of_matrices(pl)), r"metric that computes .* \(4, 4\)",
      r"self\.log_dict", ValueError, late=True),
    M("a metric of nobody", lambda pl: fit(pl, metric_of_nobody(pl)), "is no attribute of `Net`",
      r"self\.mean = MeanMetric\(", late=True),
    M("in setup", lambda pl: fit(pl, logging_in(pl, "setup", "stage")), "only while batches are trained",
      "on_train_epoch_end"),
    M("in on_fit_start", lambda pl: fit(pl, logging_in(pl, "on_fit_start")), "cannot be called in `on_fit_start`",
      r"self\.logger\.log_metrics"),
    M("in on_train_end", lambda pl: fit(pl, logging_in(pl, "on_train_end")), "in `on_train_end`", "on_train_epoch_end",
      late=True),
    M("in predict_step", lambda pl: trainer(pl).predict(logging_in(pl, "predict_step", "batch"), data()),
      "in `predict_step`", "`validation_step`"),
    M("steps at an epoch's end", lambda pl: fit(pl, logging_in(pl, "on_train_epoch_end", on_step=True)),
      "once an epoch", "Leave `on_step` out", late=True),
    M("no epoch at its end", lambda pl: fit(pl, logging_in(pl, "on_train_epoch_end", on_epoch=False)), "once an epoch",
      "Leave `on_epoch` out", late=True),
    M("two loaders, one key", lambda pl: fit(pl, net(pl, validation_step=lambda self, batch, batch_idx, dataloader_idx:
      self.log("a", 1.0, add_dataloader_idx=False)), data(), [data(), data()]), "loaders 0 and 1",
      r"f'a_\{dataloader_idx\}'"),
]  # fmt: skip


def misspelled(pl: Any, owner: str, name: str) -> None:
    members = {name: lambda self, *args: None}
    if owner == "module":
        fit(pl, net(pl, **members))
    elif owner == "callback":
        fit(pl, net(pl), callbacks=[kind(pl.Callback, **members)()])
    else:
        fit_with(pl, data_kind(pl, **members)())


def signature(pl: Any, hook: str, *arguments: str) -> None:
    scope: dict[str, Any] = {}
    exec(f"def {hook}({', '.join(['self', *arguments])}): return None", scope)
    fit(pl, validating(pl, **{hook: scope[hook]}), data(), data())


def one_argument(pl: Any, event: str) -> Any:
    return kind(pl.Callback, **{event: lambda self, trainer: None})()


HOOKS = [
    *(M(f"{owner}.{name}", lambda pl, owner=owner, name=name: misspelled(pl, owner, name), f"`Net.{name}` is no hook",
        f"Did you mean `{meant}`", here=True)
      for owner, name, meant in (
          ("module", "on_train_epoch_ends", "on_train_epoch_end"),
          ("module", "on_training_epoch_end", "on_train_epoch_end"),
          ("module", "on_val_epoch_end", "on_validation_epoch_end"),
          ("module", "val_dataloaders", "val_dataloader"),
          ("module", "valdation_step", "validation_step"),
          ("callback", "on_train_epoch_ends", "on_train_epoch_end"),
          ("callback", "on_exceptions", "on_exception"),
          ("data module", "on_after_batch_transfr", "on_after_batch_transfer"),
          ("data module", "on_train_epoch_ends", "on_train_epoch_end"),
      )),
    *(M(f"def {hook}({', '.join(arguments)})", lambda pl, hook=hook, names=arguments: signature(pl, hook, *names),
        f"`Net.{hook}` must take", rf"Write `def {hook}\({meant}\)`", TypeError)
      for hook, arguments, meant in (
          ("training_step", (), "self, batch, batch_idx"),
          ("validation_step", (), "self, batch, batch_idx"),
          ("on_train_batch_start", ("batch",), "self, batch, batch_idx"),
          ("on_train_epoch_end", ("values",), "self"),
          ("on_validation_epoch_end", ("values",), "self"),
          ("optimizer_step", ("epoch",), "self, epoch, batch_idx, optimizer, optimizer_closure"),
          ("optimizer_zero_grad", ("epoch", "batch_idx", "optimizer", "idx"), "self, epoch, batch_idx, optimizer"),
          ("backward", (), "self, loss"),
          ("setup", (), "self, stage"),
          ("teardown", (), "self, stage"),
          ("configure_optimizers", ("lr",), "self"),
          ("configure_gradient_clipping", ("o",), "self, optimizer, gradient_clip_val, gradient_clip_algorithm"),
          ("transfer_batch_to_device", ("batch",), "self, batch, device, dataloader_idx"),
      )),
    M("a hook that comes late", lambda pl: signature(pl, "on_save_checkpoint"), "must take", r"\(self, checkpoint\)",
      TypeError, here=True),
    M("a callback's hook", lambda pl: fit(pl, net(pl), callbacks=[one_argument(pl, "on_train_start")]),
      "`Net.on_train_start` must take", r"on_train_start\(self, trainer, pl_module\)", TypeError),
    M("a callback's setup", lambda pl: fit(pl, net(pl), callbacks=[one_argument(pl, "setup")]), "must take",
      r"setup\(self, trainer, pl_module, stage\)", TypeError),
    M("a data module's setup", lambda pl: fit_with(pl, data_kind(pl, setup=lambda self: None)()), "must take",
      r"def setup\(self, stage\)", TypeError),
    M("no dataloader_idx", lambda pl: fit(pl, validating(pl), data(), [data(), data()], num_sanity_val_steps=0),
      "several loaders", "dataloader_idx=0", RuntimeError, late=True),
]  # fmt: skip
OPTIMIZERS = [
    M("two optimizers", lambda pl: fit(pl, scheduled(pl, lambda o: [o, o])), "2 optimizers",
      r"automatic_optimization = False.*opt_a, opt_b = self\.optimizers\(\)", RuntimeError),
    M("a number", lambda pl: fit(pl, scheduled(pl, lambda o: 0.1)), "Received: float", "Return an optimizer"),
    M("a class", lambda pl: fit(pl, scheduled(pl, lambda o: SGD)), "the class SGD", "Return an optimizer"),
    M("nothing in a list", lambda pl: fit(pl, scheduled(pl, lambda o: [])), "no optimizer in a known place",
      "Return an optimizer", accident=True),
    M("a tuple", lambda pl: fit(pl, scheduled(pl, lambda o: (o, StepLR(o, 1)))), "tuple of .*'StepLR'",
      r"\[optimizers\], \[schedulers\]"),
    M("another key", lambda pl: fit(pl, scheduled(pl, lambda o: {"optim": o})), r"keys \['optim'\]",
      'return {"optimizer": optimizer', accident=True),
    M("no scheduler", lambda pl: fit(pl, scheduled(pl, lambda o: ([o], [{"sched": StepLR(o, 1)}]))), r"\['sched'\]",
      r'{"scheduler": scheduler'),
    M("a scheduler's class", lambda pl: fit(pl, scheduled(pl, lambda o: ([o], [StepLR]))), "the class StepLR",
      r"StepLR\(optimizer, 10\)", accident=True),
    M("an unknown interval", lambda pl: fit(pl, scheduled(pl, lambda o: ([o], [{"scheduler": StepLR(o, 1),
      "interval": "batch"}]))), "Received: batch", 'Use "step"'),
    M("a frequency of 0", lambda pl: fit(pl, scheduled(pl, lambda o: ([o], [{"scheduler": StepLR(o, 1),
      "frequency": 0}]))), "from 1 up", 'Leave "frequency" out', accident=True),
    M("plateau without monitor", lambda pl: fit(pl, scheduled(pl, lambda o: ([o], [ReduceLROnPlateau(o)]))),
      "which metric", '"monitor": "val_loss"'),
    M("plateau of an unknown metric", lambda pl: fit(pl, scheduled(pl, lambda o: {"optimizer": o, "lr_scheduler":
      ReduceLROnPlateau(o), "monitor": "nope"})), "metric 'nope'", r"self\.log\('nope', value\)", late=True),
    M("another's scheduler", lambda pl: fit(pl, scheduled(pl, lambda o: ([o], [StepLR(SGD([torch.ones(1)], 1.0), 1)]))),
      "must belong to an optimizer", "Return the optimizer"),
    M("manual_backward", lambda pl: fit(pl, doing(pl, lambda self, batch: self.manual_backward(batch.sum()))),
      "is for manual optimization", "automatic_optimization = False", late=True),
    M("windows under manual", lambda pl: fit(pl, manual(pl, lambda self, loss: None), accumulate_grad_batches=2),
      "accumulate_grad_batches=2.* has no effect", "Remove `accumulate_grad_batches=2`"),
    M("clipping under manual", lambda pl: fit(pl, manual(pl, lambda self, loss: None), gradient_clip_val=1.0),
      "gradient_clip_val=1.0.* has no effect", r"self\.clip_gradients\("),
    M("a detached loss under manual", lambda pl: fit(pl, manual(pl, lambda self, loss:
      self.manual_backward(loss.detach()))), "no graph", "without `.detach", RuntimeError, late=True),
    M("no closure", lambda pl: fit(pl, manual(pl, lambda self, loss: self.optimizers().step(loss))),
      "function without arguments", r"`optimizer\.step\(\)`", TypeError, late=True),
    M("an unknown way to clip", lambda pl: fit(pl, manual(pl, lambda self, loss:
      self.clip_gradients(self.optimizers(), 1.0, "max"))), "Received: max", 'algorithm="norm"', late=True),
    M("a closure not called", lambda pl: fit(pl, net(pl, optimizer_step=lambda self, *args: None)),
      "was never called", "closure=optimizer_closure", late=True),
]  # fmt: skip


def watching(pl: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    return getattr(pl.callbacks, name)(*args, **kwargs)


CALLBACKS = [
    M("EarlyStopping of nothing", lambda pl: fit(pl, validating(pl), data(), data(),
      callbacks=[watching(pl, "EarlyStopping", "val_los")]), "monitor='val_los'.*\n.*`val_loss`",
      "Did you mean 'val_loss'", RuntimeError, late=True),
    M("ModelCheckpoint of nothing", lambda pl: fit(pl, validating(pl), data(), data(), enable_checkpointing=True,
      callbacks=[watching(pl, "ModelCheckpoint", monitor="nope")]), "monitor='nope'",
      r"self\.log\('nope', value\)", late=True),
    M("an unknown mode", lambda pl: watching(pl, "EarlyStopping", "a", mode="lower"), "which way", 'mode="min"'),
    M("patience as text", lambda pl: watching(pl, "EarlyStopping", "a", patience="3"), "patience='3'", "patience=3",
      here=True),
    M("the best of no metric", lambda pl: watching(pl, "ModelCheckpoint", save_top_k=3), "save_top_k=3",
      'monitor="val_loss"'),
    M("two triggers", lambda pl: watching(pl, "ModelCheckpoint", every_n_epochs=1, every_n_train_steps=1),
      "one trigger", "a second `ModelCheckpoint`"),
    M("rates without logger", lambda pl: fit(pl, net(pl), callbacks=[watching(pl, "LearningRateMonitor")]),
      "needs a logger", r"Trainer\(logger=True\)"),
    M("a callback's class", lambda pl: trainer(pl, callbacks=[pl.callbacks.EarlyStopping]), "the class EarlyStopping",
      r"`EarlyStopping\(\.\.\.\)`, with parentheses", TypeError, here=True),
    M("callbacks=3", lambda pl: trainer(pl, callbacks=3), "Received: int 3", r"callbacks=\[ModelCheckpoint", TypeError),
    M("a logger as callback", lambda pl: trainer(pl, callbacks=[pl.loggers.CSVLogger("x")]), "instances of `Callback`",
      r"Trainer\(logger=CSVLogger\(", TypeError, here=True),
    M("a logger's class", lambda pl: trainer(pl, logger=pl.loggers.CSVLogger), "the class CSVLogger",
      r"logger=CSVLogger\(", TypeError, here=True),
    M("a logger's name", lambda pl: trainer(pl, logger="csv"), "str 'csv'", r"logger=CSVLogger\(", TypeError,
      here=True),
    M("one twice", lambda pl: trainer(pl, callbacks=[watching(pl, "EarlyStopping", "a") for _ in range(2)]),
      "state_key", "Remove one", RuntimeError),
    M("against enable_checkpointing", lambda pl: trainer(pl, callbacks=[watching(pl, "ModelCheckpoint")]),
      "`enable_checkpointing=False` and a ModelCheckpoint", "Remove `enable_checkpointing=False` or the callback"),
    M("against enable_progress_bar", lambda pl: trainer(pl, callbacks=[watching(pl, "TQDMProgressBar")]),
      "`enable_progress_bar=False` and a TQDM", "or the callback"),
    M("two bars", lambda pl: pl.Trainer(callbacks=[watching(pl, "TQDMProgressBar"), watching(pl, "RichProgressBar")]),
      "one progress bar", "Remove all but one"),
    M("a checkpoint in barebones", lambda pl: pl.Trainer(barebones=True, callbacks=[watching(pl, "ModelCheckpoint")]),
      "`barebones=True` and a ModelCheckpoint", "Remove `barebones=True`"),
]  # fmt: skip
DATA = [
    M("loaders and data module", lambda pl: fit_with(pl, data_kind(pl)(), data()), "not from both",
      "Leave one of them"),
    M("a data module's class", lambda pl: fit_with(pl, data_kind(pl)), "the class Net", "with parentheses", TypeError),
    M("its class as loader", lambda pl: trainer(pl).fit(net(pl), data_kind(pl)), "the class Net", "with parentheses",
      TypeError),
    M("a loader as data module", lambda pl: fit_with(pl, data()), "Received: DataLoader", "train_dataloaders=",
      TypeError, accident=True),
    M("a data module without loader", lambda pl: fit_with(pl, kind(pl.LightningDataModule)()), "got no data",
      r"def train_dataloader\(self\)"),
    M("no return", lambda pl: fit_with(pl, data_kind(pl, train_dataloader=lambda self: None)()), "Received: None",
      r"return DataLoader\(", TypeError),
    M("no return of val_dataloader", lambda pl: fit(pl, validating(pl, val_dataloader=lambda self: None)),
      "`val_dataloader`", r"return DataLoader\(", TypeError),
    M("a number as loader", lambda pl: fit(pl, net(pl), 3), "must be iterable", r"DataLoader\(dataset", TypeError),
    M("a class as loader", lambda pl: fit(pl, net(pl), DataLoader), "must be iterable", r"DataLoader\(dataset",
      TypeError),
    M("a path as loader", lambda pl: fit(pl, net(pl), "data.csv"), "data.csv", r"DataLoader\(dataset", TypeError),
    M("too small a limit", lambda pl: fit(pl, net(pl), data(4), limit_train_batches=0.1), "0.1 of 4 batches",
      "limit_train_batches=1`"),
    M("a fraction of a stream", lambda pl: fit(pl, net(pl), stream(), limit_train_batches=0.5), "has a length",
      "limit_train_batches=100"),
    M("overfitting a stream", lambda pl: fit(pl, net(pl), stream(), overfit_batches=0.5), "`overfit_batches` can be",
      "overfit_batches=100"),
    M("validating inside a stream", lambda pl: fit(pl, validating(pl), stream(), data(), val_check_interval=0.5),
      "without a length", "val_check_interval=100"),
    M("a fraction of a validation stream", lambda pl: fit(pl, validating(pl), data(), stream(), limit_val_batches=0.5),
      "limit_val_batches=0.5", "limit_val_batches=100"),
    M("an interval past the epoch", lambda pl: fit(pl, validating(pl), data(), data(), val_check_interval=3),
      "val_check_interval=3, 2 training batches", "check_val_every_n_epoch=None", ValueError),
]  # fmt: skip


def flag(said: str, fix: str, kind: type[BaseException] = MisconfigurationException, here: bool = False,
         accident: bool = False, **flags: Any) -> Mistake:  # fmt: skip
    name = ", ".join(f"{name}={value!r}" for name, value in flags.items())
    return M(name, lambda pl: trainer(pl, **flags), said, fix, kind, here=here, accident=accident)


FLAGS = [
    flag("no argument 'max_epoch'", "Did you mean `max_epochs`", TypeError, max_epoch=3),
    flag("no argument 'log_every_steps'", "`log_every_n_steps`", TypeError, log_every_steps=3),
    flag("no argument 'nonsense'", "Its arguments are: accelerator, strategy", TypeError, nonsense=3),
    M("by position", lambda pl: pl.Trainer(10), "by name", r"Trainer\(max_epochs=10", TypeError, accident=True),
    flag("int from -1 up.*\n.*max_epochs=-2", r"max_epochs=1\)", max_epochs=-2),
    flag("max_epochs='3'", r"max_epochs=1\)", here=True, max_epochs="3"),
    flag("max_steps=1000.0", r"Trainer\(max_steps=1000\)", here=True, max_steps=1e3),
    flag("min_steps=-1", r"min_steps=1\)", here=True, min_steps=-1),
    flag("is a time", '"00:12:00:00"', accident=True, max_time=5),
    flag("accumulate_grad_batches=0", r"=1\)", here=True, accumulate_grad_batches=0),
    flag("limit_train_batches=1.5", "0.1.* for a tenth", limit_train_batches=1.5),
    flag("limit_val_batches=-1", "=10.* for ten batches", limit_val_batches=-1),
    flag("overfit_batches=1.5", "for a tenth", overfit_batches=1.5),
    flag("val_check_interval=1.5", "for a tenth", val_check_interval=1.5),
    flag("more than 0", "limit_val_batches=0", here=True, val_check_interval=0),
    flag("counts batches across epochs", "val_check_interval=100", val_check_interval=0.5,
         check_val_every_n_epoch=None),
    flag("check_val_every_n_epoch=1.5", r"=1\)", check_val_every_n_epoch=1.5),
    flag("num_sanity_val_steps=-2", r"=1\)", here=True, num_sanity_val_steps=-2),
    flag("log_every_n_steps=-1", r"=1\)", here=True, log_every_n_steps=-1),
    flag("fast_dev_run='x'", "`fast_dev_run=True`", accident=True, fast_dev_run="x"),
    flag("gradient_clip_val", r"gradient_clip_val=1\.0", TypeError, gradient_clip_val="x"),
    flag("Received: max", 'algorithm="norm"', gradient_clip_algorithm="max"),
    flag("from 0 up", r"=1\)", reload_dataloaders_every_n_epochs=-1),
    flag("True or False", "detect_anomaly=True", TypeError, here=True, detect_anomaly="yes"),
    flag("deterministic='yes'", "deterministic=True", here=True, deterministic="yes"),
    flag("benchmark='yes'", "benchmark=True", accident=True, benchmark="yes"),
    flag("Received: quantum", "Available here: .*'cpu'", ValueError, accelerator="quantum"),
    flag("which ones", r"accelerator='cuda', devices=\[0\]", ValueError, accelerator="cuda:0"),
    flag("above 0", "devices=1", devices=0),
    flag("above 0", "devices=1", TypeError, devices="two"),
    flag("one process on one device", 'strategy="ddp"', here=True, devices=2, strategy="single_device"),
    flag("not supported yet", 'strategy="ddp"', ValueError, strategy="fsdp"),
    flag("Received: quick", "'auto', 'single_device'", ValueError, strategy="quick"),
    flag("num_nodes=0", r"num_nodes=1\)", ValueError, num_nodes=0),
    flag("Received: fp16", "'16-mixed'", ValueError, precision="fp16"),
    flag("one `Precision`", r"plugins=\[", plugins=[3]),
    flag("a vendor's service", "Leave it out", here=True, model_registry="x"),
    *(M(f"barebones and {name}", lambda pl, name=name, value=value: pl.Trainer(barebones=True, **{name: value}),
        f"`barebones=True` switches off.*\n.*{name}={value!r}", f"Leave out {name}, or `barebones`", ValueError)
      for name, value in (
          ("logger", True), ("enable_checkpointing", True), ("enable_progress_bar", True),
          ("enable_model_summary", True), ("num_sanity_val_steps", 2), ("fast_dev_run", True),
          ("detect_anomaly", True), ("profiler", "simple"), ("log_every_n_steps", 1),
      )),
]  # fmt: skip


def conflicting(pl: Any) -> None:
    def with_rate(base: Any) -> Any:
        class Rated(base):
            def __init__(self, lr: float) -> None:
                super().__init__()
                self.save_hyperparameters()

        return Rated

    module, datamodule = with_rate(plain(pl))(0.1), with_rate(data_kind(pl))(0.2)
    trainer(pl, logger=pl.loggers.CSVLogger("logs")).fit(module, datamodule=datamodule)


def unfitting(pl: Any, **members: Any) -> None:
    path = saved(pl)
    module = net(pl, **members)
    if not members:
        module.layer = nn.Linear(4, 3)
    trainer(pl).fit(module, data(), ckpt_path=path)


def two_groups(self: Any) -> Any:
    return SGD([{"params": [parameter]} for parameter in self.parameters()], 0.1)


CHECKPOINTS = [
    M("the best of none", lambda pl: trainer(pl).fit(net(pl), data(), ckpt_path="best"), "Only a `ModelCheckpoint`",
      r"callbacks=\[ModelCheckpoint\(monitor=", ValueError),
    M("the best before fit", lambda pl: trainer(pl, enable_checkpointing=True).validate(validating(pl), data(),
      ckpt_path="best"), "No checkpoint was saved", "trainer.fit` first", ValueError),
    M("weights alone in the file", lambda pl: trainer(pl).fit(net(pl), data(), ckpt_path=weights_file(pl)),
      r"keys \['layer.weight', 'layer.bias'\]", "load_state_dict", accident=True),
    M("another model", lambda pl: unfitting(pl), "do not fit `Net`.*\n(.*\n)*.*size mismatch",
      "Build the model as it was", RuntimeError),
    M("other parameter groups", lambda pl: unfitting(pl, configure_optimizers=two_groups), "parameter groups",
      "same groups", ValueError),
    M("fewer epochs", lambda pl: trainer(pl).fit(net(pl), data(), ckpt_path=saved(pl, max_epochs=2)),
      "cannot end before", "`max_epochs` to more than 2"),
    M("no state of training", lambda pl: trainer(pl).fit(net(pl), data(), ckpt_path=saved(pl, weights_only=True)),
      "weights alone", "load_from_checkpoint", accident=True),
    M("saving before fit", lambda pl: trainer(pl).save_checkpoint("x.ckpt"), "nothing to save", "trainer.fit",
      accident=True),
    M("hyper-parameters at odds", conflicting, "lr: 0.1 and 0.2", "Rename one", RuntimeError),
    M("unknown hyper-parameter", lambda pl: net(pl, __init__=lambda self, lr=0.1: (plain(pl).__init__(self),
      self.save_hyperparameters("rate"))[0]), "'rate'", "Name one of those", accident=True),
    M("no sample to export", lambda pl: net(pl).to_torchscript(method="trace"), "needs an input", "example_input_array",
      ValueError),
]  # fmt: skip

AREAS = {
    "module": MODULES, "return": RETURNS, "log": LOGS, "hook": HOOKS, "optimizer": OPTIMIZERS, "callback": CALLBACKS,
    "data": DATA, "flag": FLAGS, "checkpoint": CHECKPOINTS,
}  # fmt: skip
MISTAKES = [pytest.param(mistake, id=f"{area}: {mistake.name}") for area, rows in AREAS.items() for mistake in rows]


@pytest.fixture(autouse=True)
def _count_steps() -> None:
    steps.clear()


def caught(pl: Any, mistake: Mistake) -> BaseException | None:
    try:
        mistake.make(pl)
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.filterwarnings("ignore:.*has a `validation_step`, but there is no validation loader")
def test_the_error_says_what_to_write(mistake: Mistake) -> None:
    error = caught(fulmen, mistake)
    assert isinstance(error, MisconfigurationException), f"{type(error).__name__}: {error}"
    assert isinstance(error, mistake.kind)
    rule, _, fix = str(error).partition("\nWhat to do: ")
    assert re.search(mistake.rule, rule), rule
    assert re.search(mistake.fix, fix), fix
    assert mistake.late or not steps, "it could have been known before the first step"


@pytest.fixture(scope="module")
def lightning() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module: ModuleType = pytest.importorskip("pytorch_lightning", reason="the reference")
    return module


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.filterwarnings("ignore")
def test_what_catches_lightnings_error_catches_ours(mistake: Mistake, lightning: ModuleType) -> None:
    theirs = caught(lightning, mistake)
    if mistake.here:
        assert theirs is None, f"{type(theirs).__name__}: {theirs}"
    else:
        assert theirs is not None
        builtin = [base for base in type(theirs).__mro__ if base.__module__ == "builtins"]
        ours = (MisconfigurationException, mistake.kind)
        assert mistake.accident or all(any(issubclass(kind, base) for kind in ours) for base in builtin), builtin


def test_layers_before_super_init() -> None:
    """torch says this one itself, where the layer is assigned."""
    with pytest.raises(AttributeError, match=r"before Module\.__init__\(\) call"):
        kind(plain(fulmen), __init__=lambda self: setattr(self, "layer", nn.Linear(1, 1)))()


@pytest.mark.parametrize(("method", "make"), [("fit", net), ("validate", validating)])
def test_a_checkpoint_that_is_not_there(method: str, make: Callable[..., Any]) -> None:
    with pytest.raises(FileNotFoundError, match=r"'nope\.ckpt'[^W]*What to do: check the path.*best_model_path"):
        getattr(trainer(fulmen), method)(make(fulmen), data(), ckpt_path="nope.ckpt")


def test_a_checkpoint_outlives_every_mistake_in_using_it() -> None:
    path = saved(fulmen)
    before = Path(path).read_bytes()
    for module, flags in (
        (kind(plain(fulmen), configure_optimizers=two_groups)(), {}),
        (net(fulmen), {"max_epochs": 0}),
    ):
        with pytest.raises(MisconfigurationException):
            trainer(fulmen, **flags).fit(module, data(), ckpt_path=path)
    assert Path(path).read_bytes() == before


WARNINGS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "no loader": (lambda pl: fit(pl, validating(pl)), "Pass `val_dataloaders=` or define `val_dataloader`"),
    "no validation_step": (lambda pl: fit(pl, net(pl), data(), data()), r"def validation_step\(self, batch"),
    "val_step": (lambda pl: fit(pl, net(pl, val_step=lambda self: None), data(), data()), "your `val_step` that"),
    "val_loader": (lambda pl: fit(pl, validating(pl, val_loader=lambda self: None)), "your `val_loader` that"),
    "evaluation mode": (lambda pl: fit(pl, net(pl).eval()), r"call `model\.train\(\)`"),
    "no return": (lambda pl: fit(pl, returning(pl, lambda out: None)), "Return the loss"),
    "no optimizer": (lambda pl: fit(pl, scheduled(pl, lambda o: None)), "will not change any weights"),
    "an iterator": (lambda pl: fit(pl, net(pl), iter([torch.ones(2, 4)]), max_epochs=2), "Make it a `DataLoader`"),
    "a data set": (lambda pl: fit(pl, net(pl), Items(2)), r"DataLoader\(dataset, batch_size=32\)"),
    "shuffling": (lambda pl: fit(pl, validating(pl), data(), DataLoader(Items(2), shuffle=True)), "shuffle=False"),
    "an event elsewhere": (lambda pl: misspelled(pl, "data module", "on_train_start"), "or in a Callback"),
    "log alone": (lambda pl: net(pl).log("a", 1.0), "hook of a module that `Trainer.fit`"),
    "no end": (lambda pl: fit(pl, net(pl), max_epochs=None), r"Trainer\(max_epochs=-1\)"),
}


@pytest.mark.parametrize(("make", "advice"), WARNINGS.values(), ids=WARNINGS)
def test_what_is_only_warned_of(make: Callable[[Any], Any], advice: str) -> None:
    with pytest.raises(UserWarning, match=advice):
        make(fulmen)


def test_a_method_beside_the_hook_is_no_mistake() -> None:
    """Only a method in place of the hook is taken for a misspelling."""
    own = {"validation_steps": lambda self: None, "configure_optimizer": lambda self: None}
    assert fit(fulmen, validating(fulmen, **own), data(), data()).global_step == 2
