"""Sees to it that the user's hooks take what they will be called with, before anything runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from fulmen.callbacks.callback import Callback
from fulmen.core.datamodule import LightningDataModule
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredRun, MisconfiguredType
from fulmen.utilities.generations import stand_in

_OURS = ("fulmen.", "torch.", "builtins")

# What hooks get that are no events of the hook table; a name with "=" is passed by name.
_DATA = {
    "prepare_data": "",
    "setup": "stage=",
    "teardown": "stage=",
    "train_dataloader": "",
    "val_dataloader": "",
    "test_dataloader": "",
    "predict_dataloader": "",
    "on_before_batch_transfer": "batch, dataloader_idx",
    "transfer_batch_to_device": "batch, device, dataloader_idx",
    "on_after_batch_transfer": "batch, dataloader_idx",
}
_MODULE = {
    **_DATA,
    "configure_callbacks": "",
    "configure_model": "",
    "configure_sharded_model": "",
    "configure_optimizers": "",
    "configure_gradient_clipping": "optimizer, gradient_clip_val=, gradient_clip_algorithm=",
    "optimizer_step": "epoch, batch_idx, optimizer, optimizer_closure",
    "optimizer_zero_grad": "epoch, batch_idx, optimizer",
    "lr_scheduler_step": "scheduler, metric",
    "backward": "loss",
    "on_save_checkpoint": "checkpoint",
    "on_load_checkpoint": "checkpoint",
    "on_validation_model_zero_grad": "",
    "on_validation_model_eval": "",
    "on_validation_model_train": "",
    "on_test_model_eval": "",
    "on_test_model_train": "",
    "on_predict_model_eval": "",
}
_DATAMODULE = {**_DATA, "on_exception": "exception", "state_dict": "", "load_state_dict": "state_dict"}
_CALLBACK = {
    "setup": "trainer, pl_module, stage=",
    "teardown": "trainer, pl_module, stage=",
    "on_exception": "trainer, pl_module, exception",
    "on_save_checkpoint": "trainer, pl_module, checkpoint",
    "on_load_checkpoint": "trainer, pl_module, checkpoint",
    "state_dict": "",
    "load_state_dict": "state_dict",
}
_STEPS = ("training_step", "validation_step", "test_step", "predict_step")


def check_signatures(owner: object) -> None:
    """Raises if a hook of the user's cannot take what it will be called with.

    Events of the hook table are checked where that is made.

    Args:
        owner: A module, data module or callback.

    Raises:
        MisconfigurationException: Naming the hook and how to write it.
    """
    kinds = ((Callback, _CALLBACK), (LightningDataModule, _DATAMODULE), (object, _MODULE))
    expected = next(table for kind, table in kinds if isinstance(owner, kind))
    for name, arguments in expected.items():
        method = _own(owner, name)
        names = arguments.split(", ") if arguments else []
        positional = [None for part in names if not part.endswith("=")]
        named = {part[:-1]: None for part in names if part.endswith("=")}
        if method is not None and not _binds(method, *positional, **named):
            raise _wrong(method, owner, name, ["self", *(part.rstrip("=") for part in names)])
    for name in _STEPS if expected is _MODULE else ():
        method = _own(owner, name)
        if method is not None and not any(_binds(method, *[None] * count) for count in (1, 2, 3)):
            raise _wrong(method, owner, name, ["self", "batch", "batch_idx"])


def check_step(method: Callable[..., Any], name: str, count: int) -> None:
    """Raises if a step cannot take the arguments that it will get.

    Args:
        method: The step.
        name: ``"training_step"`` or one of its sisters.
        count: How many arguments come: the batch, its number, and the loader's where there are several.

    Raises:
        MisconfigurationException: Naming how to write it.
    """
    if _binds(method, *[None] * count):
        return
    owner = getattr(method, "__self__", None)
    if count == 3:
        raise MisconfiguredRun(
            f"`{_title(owner, name)}` gets the number of the loader too, because there are several loaders.",
            got=_shown(method, name),
            fix=f"Write `def {name}(self, batch, batch_idx, dataloader_idx=0)`.",
        )
    raise _wrong(method, owner, name, ["self", "batch", "batch_idx"])


def fit_arguments(
    method: Callable[..., Any], count: int, pattern: Callable[..., Any], optional: bool = False
) -> Callable[..., Any]:
    """Checks that a listener can take what an event brings, and drops the last argument where that may be.

    Args:
        method: The user's method.
        count: How many arguments come.
        pattern: The method as it is documented, for the error text.
        optional: Whether the last argument, the loader's number, may be left out.

    Returns:
        A callable for `count` arguments.

    Raises:
        MisconfigurationException: If the method cannot take them.
    """
    if _binds(method, *[None] * count):
        return method
    if optional and _binds(method, *[None] * (count - 1)):
        return lambda *args: method(*args[: count - 1])
    names = [
        parameter.name if parameter.default is parameter.empty else f"{parameter.name}={parameter.default!r}"
        for parameter in inspect.signature(pattern).parameters.values()
    ]
    raise _wrong(method, getattr(method, "__self__", None), pattern.__name__, names)


def _own(owner: object, name: str) -> Callable[..., Any] | None:
    """A method that the user wrote, or None."""
    method = stand_in(owner, name) if hasattr(owner, name) else None
    function = getattr(method, "__func__", method)
    if method is None or str(getattr(function, "__module__", None)).startswith(_OURS):
        return None
    return method if inspect.isroutine(method) else None


def _binds(method: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
    try:
        signature = inspect.signature(method)
    except (TypeError, ValueError):  # not written in Python
        return True
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def _title(owner: object, name: str) -> str:
    return name if owner is None else f"{type(owner).__name__}.{name}"


def _shown(method: Callable[..., Any], name: str) -> str:
    signature = inspect.signature(getattr(method, "__func__", method))
    return f"def {name}({', '.join(str(p.replace(annotation=p.empty)) for p in signature.parameters.values())})"


def _wrong(method: Callable[..., Any], owner: object, name: str, arguments: list[str]) -> MisconfigurationException:
    return MisconfiguredType(
        f"`{_title(owner, name)}` must take the arguments of its hook.",
        got=_shown(method, name),
        fix=f"Write `def {name}({', '.join(arguments)})`.",
    )
