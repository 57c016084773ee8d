"""Brings a module, its data and the Trainer together, before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from fulmen.callbacks.callback import Callback
from fulmen.core.datamodule import LightningDataModule
from fulmen.core.module import LightningModule, overridden
from fulmen.core.run_state import parts_of
from fulmen.loops.hook_names import check_names
from fulmen.loops.signatures import check_signatures
from fulmen.trainer.parts import checkpoints_last
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredType
from fulmen.utilities.generations import adapt
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
        raise _no_module(model)
    if not hasattr(model, "_automatic_optimization"):
        raise MisconfigurationException(
            f"`{type(model).__name__}.__init__` must call its base class first.",
            fix="Write `super().__init__()` as the first line of `__init__`.",
        )
    model.__dict__["_compiled_by"] = None if compiled is None else compile_step(compiled)
    return model


def _no_module(model: Any) -> MisconfigurationException:
    kind = model if isinstance(model, type) else type(model)
    fix = "Pass the model first, then the data: `trainer.fit(model, train_dataloaders)`."
    if issubclass(kind, LightningModule):
        fix = f"Make one of it: `{kind.__name__}(...)`, with parentheses."
    elif issubclass(kind, torch.nn.Module):
        fix = (
            "Derive your class from `fulmen.LightningModule` in place of `torch.nn.Module`, and give it a "
            "`training_step` and `configure_optimizers`."
        )
    return MisconfiguredType("The Trainer runs a `LightningModule`.", got=_what(model), fix=fix)


def _what(thing: Any) -> str:
    return f"the class {thing.__name__}" if isinstance(thing, type) else type(thing).__name__


def compile_step(compiled: Any) -> Any:
    """How the steps of a compiled module are compiled: as the module itself was."""
    context = getattr(compiled, "dynamo_ctx", None)
    return context if context is not None else torch.compile


def attach_module(trainer: Trainer, module: LightningModule) -> None:
    """Lets Trainer and module know each other.

    Raises:
        MisconfigurationException: If a hook of the module cannot take what it will get.
    """
    trainer.companions, module.__dict__["_optimization_kind"] = (), None
    adapt(trainer, module)
    check_signatures(module)
    give_run(trainer, module)
    trainer.strategy.connect(module)


def give_run(trainer: Trainer, module: LightningModule) -> None:
    """Tells a module, and those inside of it, who runs them and where they log."""
    for part in parts_of(module):
        part.__dict__.update(_trainer=trainer, _logbook=trainer.logbook)


def attach_data(trainer: Trainer, module: LightningModule, datamodule: Any, loaders: dict[str, Any]) -> None:
    """Decides where every stage's loaders come from.

    Args:
        trainer: The Trainer.
        module: May make loaders.
        datamodule: May make loaders, or None.
        loaders: What was passed, by the name of the argument.

    Raises:
        MisconfigurationException: If both a data module and loaders were passed, or the data module is none.
    """
    given = [name for name, value in loaders.items() if value is not None]
    if datamodule is not None and given:
        raise MisconfigurationException(
            "Data comes from a data module or from loaders, not from both.",
            got=f"datamodule and {', '.join(given)}",
            fix="Leave one of them out.",
        )
    if datamodule is not None:
        _check_datamodule(trainer, datamodule)
        datamodule.trainer = trainer
    trainer.datamodule = datamodule
    fn = trainer.state.fn
    if fn is None or fn == TrainerFn.FITTING:
        trainer.fit_loop.data.attach(loaders.get("train_dataloaders"), module, datamodule)
        trainer.fit_loop.validation.data.attach(loaders.get("val_dataloaders"), module, datamodule)
    else:
        trainer.loop_of(fn).data.attach(loaders.get("dataloaders"), module, datamodule)


def _check_datamodule(trainer: Trainer, datamodule: Any) -> None:
    made = not isinstance(datamodule, type)
    if not made or not (isinstance(datamodule, LightningDataModule) or hasattr(datamodule, "prepare_data")):
        raise MisconfiguredType(
            "`datamodule` is a `LightningDataModule`.",
            got=_what(datamodule),
            fix="Derive your class from `fulmen.LightningDataModule`, or pass loaders as `train_dataloaders=...`."
            if made
            else f"Make one of it: `{datamodule.__name__}(...)`, with parentheses.",
        )
    adapt(trainer, datamodule)
    check_names(datamodule)
    check_signatures(datamodule)


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
    """Complains of what is missing or would never be called, before anything runs.

    Raises:
        MisconfigurationException: Naming what to write.
    """
    _check_complete(trainer, module, fn)
    check_names(module)
    for callback in trainer.callbacks:
        adapt(trainer, callback)
        check_names(callback)
        check_signatures(callback)


def _check_complete(trainer: Trainer, module: LightningModule, fn: TrainerFn) -> None:
    if fn == TrainerFn.FITTING:
        _require(module, "training_step", "batch, batch_idx", "Compute the loss in it and return it.")
        if overridden(module, "configure_optimizers", LightningModule) is None:
            _require(module, "configure_optimizers", "", "Return an optimizer, e.g. `torch.optim.Adam(...)`.")
        _require_data(trainer, trainer.fit_loop.data.source, "fit", "train_dataloaders")
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
    _require_data(trainer, trainer.loop_of(fn).data.source, name, "dataloaders")


def _require(module: LightningModule, name: str, arguments: str, say: str) -> None:
    if overridden(module, name, LightningModule) is not None:
        return
    raise MisconfigurationException(
        f"`{type(module).__name__}` has no `{name}`.",
        fix=f"Write `def {name}(self{', ' + arguments if arguments else ''}): ...`. {say}{_hint(name, module)}",
    )


def _hint(name: str, *owners: object) -> str:
    """Names the method of the user's that was probably meant to be a hook, if there is one."""
    bases = [base for owner in owners for base in type(owner).__mro__ if not base.__module__.startswith("torch.")]
    methods = [key for base in bases for key, value in vars(base).items() if callable(value)]
    known = (LightningModule, LightningDataModule)
    near = closest(name, [key for key in methods if not any(hasattr(kind, key) for kind in known)])
    return f" (Did you mean to call your `{near}` that?)" if near else ""


def _require_data(trainer: Trainer, source: Any, method: str, argument: str) -> None:
    if not source.defined:
        raise MisconfigurationException(
            f"`Trainer.{method}` got no data: no loader was passed and no `{source.hook}` is defined.",
            fix=f"Pass `trainer.{method}(model, {argument}=DataLoader(dataset, batch_size=32))`, or write "
            f"`def {source.hook}(self): return DataLoader(...)` in the module or a `LightningDataModule`."
            + _hint(source.hook, trainer.lightning_module, trainer.datamodule),
        )


def _warn_of_half_validation(trainer: Trainer, module: LightningModule) -> None:
    step = overridden(module, "validation_step", LightningModule) is not None
    loader = trainer.fit_loop.validation.data.source.defined
    if loader and not step:
        rank_zero_warn(
            f"There is a validation loader, but `{type(module).__name__}` has no `validation_step`: no validation "
            f"runs. Write `def validation_step(self, batch, batch_idx)`.{_hint('validation_step', module)}"
        )
    if step and not loader:
        rank_zero_warn(
            f"`{type(module).__name__}` has a `validation_step`, but there is no validation loader: no validation "
            "runs. Pass `val_dataloaders=` or define `val_dataloader`."
            + _hint("val_dataloader", module, trainer.datamodule)
        )
