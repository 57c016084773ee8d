"""What methods of 1.x's Trainer do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fulmen.compat.v1.hints import hint
from fulmen.compat.v1.run_flags import combine
from fulmen.core.module import LightningModule, overridden
from fulmen.utilities.exceptions import MisconfiguredRun

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer


def fit_arguments(
    former: dict[str, Any] | None, train_dataloaders: Any, train_dataloader: Any, ckpt_path: Any
) -> tuple[Any, Any]:
    """The loaders and the checkpoint of `fit`, with what arguments of 1.x have to say.

    Args:
        former: The Trainer's arguments of 1.x, or None.
        train_dataloaders: What was passed as that.
        train_dataloader: The same, by its older name.
        ckpt_path: The checkpoint that was passed to `fit`, or None.
    """
    if train_dataloader is not None:
        hint("`trainer.fit(train_dataloader=...)`", "`trainer.fit(train_dataloaders=...)`.")
        train_dataloaders = train_dataloader
    former = former or {}
    if ckpt_path is None:
        ckpt_path = former.get("resume_from_checkpoint")
    return combine(train_dataloaders, former.get("multiple_trainloader_mode")), ckpt_path


def run_again(trainer: Trainer) -> Any:
    """Runs again what ran last, with the same model and data.

    Raises:
        MisconfiguredRun: If nothing ran.
    """
    hint("`trainer.run_stage()`", "`trainer.fit(model)`, `trainer.validate(model)` and their sisters.")
    fn, module = trainer.state.fn, trainer.lightning_module
    if fn is None or module is None:
        raise MisconfiguredRun(
            "`trainer.run_stage()` runs again what ran before, and nothing did.", fix="Call `trainer.fit(model)`."
        )
    given: dict[str, Any] = {"datamodule": trainer.datamodule}
    if fn.value == "fit":
        fit = trainer.fit_loop
        given.update(train_dataloaders=fit.data.source.given, val_dataloaders=fit.validation.data.source.given)
    else:
        given.update(dataloaders=trainer.loop_of(fn).data.source.given)
    if any(value is not None for name, value in given.items() if name != "datamodule"):
        del given["datamodule"]
    return getattr(trainer, fn.value)(module, **given)


def call_hook(trainer: Trainer, name: str, given: tuple[Any, ...], module: Any, named: dict[str, Any]) -> Any:
    """Calls a hook of all callbacks, then of the module.

    Args:
        trainer: The Trainer.
        name: The hook.
        given: Its arguments, beyond the Trainer and the module that callbacks get first.
        module: The module; None for the Trainer's.
        named: Its arguments by name.

    Returns:
        What the module's hook returns.
    """
    hint("`trainer.call_hook`", "call the hook itself: `module.on_train_start()`.")
    module = trainer.lightning_module if module is None else module
    for callback in trainer.callbacks:
        if hasattr(callback, name):
            getattr(callback, name)(trainer, module, *given, **named)
    if module is not None and overridden(module, name, LightningModule) is not None:
        return getattr(module, name)(*given, **named)
    return None


def reset_loader(trainer: Trainer, data: Any, module: LightningModule | None) -> None:
    """Asks for the loaders of a stage anew.

    Args:
        trainer: The Trainer.
        data: Holds the loaders.
        module: May make them; None for the module that the Trainer has.

    Raises:
        MisconfiguredRun: If there is no model yet.
    """
    hint("`trainer.reset_train_dataloader()`", "`trainer.fit` and its sisters ask for loaders themselves.")
    module = trainer.lightning_module if module is None else module
    if module is None:
        raise MisconfiguredRun(
            "A Trainer asks its model for loaders, and has none yet.",
            fix="Pass the model: `trainer.reset_train_dataloader(model)`, or call `trainer.fit(model)`.",
        )
    if module._trainer is None:
        module._trainer = trainer
    data.attach(data.source.given, module, trainer.datamodule)
    if data.source.defined:
        data.load()
