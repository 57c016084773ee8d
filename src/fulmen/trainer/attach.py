"""Brings a module, its data and the Trainer together, before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from fulmen.callbacks.callback import Callback
from fulmen.core.datamodule import LightningDataModule
from fulmen.core.module import LightningModule, overridden
from fulmen.loops.hook_names import check_names
from fulmen.trainer.parts import checkpoints_last
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredType
from fulmen.utilities.rank_zero import rank_zero_warn
from fulmen.utilities.states import TrainerFn
from fulmen.utilities.suggest import closest

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer


def unwrap(model: Any) -> LightningModule:
    """The module behind what was handed to the Trainer.

    A module given as ``torch.compile(model)`` is unwrapped: its steps are compiled when they are called, and its
    checkpoints carry the plain names.

    Args:
        model: A module, compiled or not.

    Returns:
        The module.

    Raises:
        MisconfigurationException: If it is no ``LightningModule``.
    """
    compiled = None
    if hasattr(model, "_orig_mod") and isinstance(model, torch.nn.Module):
        compiled, model = model, model._orig_mod
    if not isinstance(model, LightningModule):
        plain = isinstance(model, torch.nn.Module)
        raise MisconfiguredType(
            "The Trainer runs a `LightningModule`.",
            got=f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__,
            fix="Derive your class from `fulmen.LightningModule` in place of `torch.nn.Module`, and give it a "
            "`training_step` and `configure_optimizers`." if plain else "`trainer.fit(MyModule())`.",
        )  # fmt: skip
    if not hasattr(model, "_automatic_optimization"):
        raise MisconfigurationException(
            f"`{type(model).__name__}.__init__` must call its base class first.",
            fix="Write `super().__init__()` as the first line of `__init__`.",
        )
    model.__dict__["_compiled_by"] = None if compiled is None else compile_step(compiled)
    return model


def compile_step(compiled: Any) -> Any:
    """How the steps of a compiled module are compiled: as the module itself was."""
    context = getattr(compiled, "dynamo_ctx", None)
    return context if context is not None else torch.compile


def attach_module(trainer: Trainer, module: LightningModule) -> None:
    """Lets Trainer and module know each other."""
    previous = module._trainer
    if previous is not None and previous is not trainer:
        module._logbook = None
    module._trainer = trainer
    module.__dict__["_logbook"] = trainer.logbook
    trainer.strategy.connect(module)


def attach_data(trainer: Trainer, module: LightningModule, datamodule: Any, loaders: dict[str, Any]) -> None:
    """Decides where every stage's loaders come from.

    Args:
        trainer: The Trainer.
        module: May make loaders.
        datamodule: May make loaders, or None.
        loaders: What was passed, by the name of the argument.

    Raises:
        MisconfigurationException: If both a data module and loaders were passed.
    """
    given = [name for name, value in loaders.items() if value is not None]
    if datamodule is not None and given:
        raise MisconfigurationException(
            "Data comes from a data module or from loaders, not from both.",
            got=f"datamodule and {', '.join(given)}",
            fix="Leave one of them out.",
        )
    if (
        datamodule is not None
        and not isinstance(datamodule, LightningDataModule)
        and not hasattr(datamodule, "prepare_data")
    ):
        raise MisconfiguredType(
            "`datamodule` is a `LightningDataModule`.",
            got=type(datamodule).__name__,
            fix="Derive your class from `fulmen.LightningDataModule`, or pass loaders as `train_dataloaders=...`.",
        )
    trainer.datamodule = datamodule
    if datamodule is not None:
        datamodule.trainer = trainer
        check_names(datamodule)
    fn = trainer.state.fn
    if fn is None or fn == TrainerFn.FITTING:
        trainer.fit_loop.data.attach(loaders.get("train_dataloaders"), module, datamodule)
        trainer.fit_loop.validation.data.attach(loaders.get("val_dataloaders"), module, datamodule)
    else:
        trainer.loop_of(fn).data.attach(loaders.get("dataloaders"), module, datamodule)


def attach_callbacks(trainer: Trainer, module: LightningModule) -> None:
    """Takes in the callbacks that the module brings along; they replace the Trainer's of the same type."""
    brought: Any = module.configure_callbacks() or []
    brought = [brought] if isinstance(brought, Callback) else list(brought)
    if not brought:
        return
    kinds = {type(callback) for callback in brought}
    replaced = [callback for callback in trainer.callbacks if type(callback) in kinds]
    if replaced:
        rank_zero_warn(
            f"`{type(module).__name__}.configure_callbacks` brings its own "
            f"{', '.join(sorted({type(cb).__name__ for cb in replaced}))}: the Trainer's give way to them."
        )
    trainer.callbacks = checkpoints_last([cb for cb in trainer.callbacks if cb not in replaced] + brought)


def check_ready(trainer: Trainer, module: LightningModule, fn: TrainerFn) -> None:
    """Complains of what is missing before anything runs.

    Raises:
        MisconfigurationException: Naming what to write.
    """
    if fn == TrainerFn.FITTING:
        _require(module, "training_step", "batch, batch_idx", "Compute the loss in it and return it.")
        if overridden(module, "configure_optimizers", LightningModule) is None:
            _require(module, "configure_optimizers", "", "Return an optimizer, e.g. `torch.optim.Adam(...)`.")
        _require_data(trainer.fit_loop.data.source, "fit", "train_dataloaders")
        _warn_of_half_validation(trainer, module)
        return
    step, name = {
        TrainerFn.VALIDATING: ("validation_step", "validate"),
        TrainerFn.TESTING: ("test_step", "test"),
        TrainerFn.PREDICTING: ("predict_step", "predict"),
    }[fn]
    if fn == TrainerFn.PREDICTING:
        if overridden(module, step, LightningModule) is None and overridden(module, "forward", LightningModule) is None:
            _require(module, "predict_step", "batch, batch_idx", "Return the predictions of the batch.")
    else:
        _require(module, step, "batch, batch_idx", "Compute and log metrics in it.")
    _require_data(trainer.loop_of(fn).data.source, name, "dataloaders")


def _require(module: LightningModule, name: str, arguments: str, say: str) -> None:
    if overridden(module, name, LightningModule) is not None:
        return
    own = [key for base in type(module).__mro__ for key in vars(base) if not base.__module__.startswith("torch.")]
    near = closest(name, [key for key in own if not hasattr(LightningModule, key)])
    hint = f" (Did you mean to call your `{near}` that?)" if near else ""
    raise MisconfigurationException(
        f"`{type(module).__name__}` has no `{name}`.",
        fix=f"Write `def {name}(self{', ' + arguments if arguments else ''}): ...`. {say}{hint}",
    )


def _require_data(source: Any, method: str, argument: str) -> None:
    if not source.defined:
        raise MisconfigurationException(
            f"`Trainer.{method}` got no data: no loader was passed and no `{source.hook}` is defined.",
            fix=f"Pass `trainer.{method}(model, {argument}=DataLoader(dataset, batch_size=32))`, or write "
            f"`def {source.hook}(self): return DataLoader(...)` in the module or a `LightningDataModule`.",
        )


def _warn_of_half_validation(trainer: Trainer, module: LightningModule) -> None:
    step = overridden(module, "validation_step", LightningModule) is not None
    loader = trainer.fit_loop.validation.data.source.defined
    if loader and not step:
        rank_zero_warn(
            f"There is a validation loader, but `{type(module).__name__}` has no `validation_step`: no validation runs."
        )
    if step and not loader:
        rank_zero_warn(
            f"`{type(module).__name__}` has a `validation_step`, but there is no validation loader: no validation "
            "runs. Pass `val_dataloaders=` or define `val_dataloader`."
        )
