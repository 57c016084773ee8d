"""Modules, data modules and callbacks with every hook of a version, in its signature: which of them runs call."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import torch
from torch.utils.data import DataLoader

from fulmen import Callback, LightningDataModule, LightningModule, Trainer
from fulmen.callbacks import ModelCheckpoint

from .listing import facts

QUIET: dict[str, Any] = {
    "accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False,
    "limit_train_batches": 2, "limit_val_batches": 1, "limit_test_batches": 1, "limit_predict_batches": 1,
    "num_sanity_val_steps": 1, "max_epochs": 1,
}  # fmt: skip

# What is overridden in a module of its own: several ways to do one thing exclude each other.
_APART = {"tbptt_split_batch", "on_keyboard_interrupt", "on_exception", "configure_sharded_model", "forward"}
_STEPS = ("training_step", "validation_step", "test_step", "predict_step")
_MODULE = (
    *_STEPS, "training_step_end", "validation_step_end", "test_step_end", "training_epoch_end", "validation_epoch_end",
    "test_epoch_end", "configure_callbacks", "configure_optimizers", "backward", "configure_gradient_clipping",
    "optimizer_step", "optimizer_zero_grad", "lr_scheduler_step", "get_progress_bar_dict",
    "on_load_checkpoint", "on_save_checkpoint",
)  # fmt: skip


def _loader(*_: Any) -> Any:
    return DataLoader(torch.ones(8, 2), batch_size=2)


def _optimizers(self: Any) -> Any:
    optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
    return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


def _step(self: Any, **given: Any) -> Any:
    return self.layer(given["batch"]).mean()


# What hooks do that have something to do.
_BODIES: dict[str, Any] = {
    **dict.fromkeys(_STEPS, _step),
    **{f"{name}_end": lambda self, **given: next(iter(given.values())) for name in _STEPS},
    "configure_optimizers": _optimizers,
    "configure_callbacks": lambda self: [],
    "backward": lambda self, **given: given["loss"].backward(),
    "optimizer_step": lambda self, **given: given["optimizer"].step(closure=given["optimizer_closure"]),
    "optimizer_zero_grad": lambda self, **given: given["optimizer"].zero_grad(),
    "lr_scheduler_step": lambda self, **given: given["scheduler"].step(),
    "get_progress_bar_dict": lambda self: {},
    "on_save_checkpoint": lambda self, **given: {"noted": 1},  # the state of a callback of 1.5
    "transfer_batch_to_device": lambda self, **given: given["batch"],
    "on_before_batch_transfer": lambda self, **given: given["batch"],
    "on_after_batch_transfer": lambda self, **given: given["batch"],
    **{f"{stage}_dataloader": _loader for stage in ("train", "val", "test", "predict")},
}  # fmt: skip


def _hook(heard: set[str], name: str, parameters: list[str]) -> Any:
    """A function of that signature that notes which of its parameters it got."""
    if name in _STEPS:
        parameters = ["batch", "batch_idx"]
    elif name in ("training_step_end", "validation_step_end", "test_step_end"):
        parameters = ["step_output"]

    def note(given: dict[str, Any]) -> Any:
        owner = given.pop("self")
        heard.update((name, *(f"{name}({parameter})" for parameter in given)))
        body = _BODIES.get(name)
        return None if body is None else body(owner, **given)

    space: dict[str, Any] = {"note": note}
    listed = ", ".join(["self", *parameters])
    exec(f"def {name}({listed}):\n    return note(dict(locals()))", space)
    return space[name]


def _class(base: type, heard: set[str], hooks: dict[str, list[str]]) -> Any:
    return type("Of1x", (base,), {name: _hook(heard, name, parameters) for name, parameters in hooks.items()})


def _hooks(version: str, *owners: str) -> dict[str, list[str]]:
    listed = facts(version)
    return {name: value for owner in owners for name, value in listed.get(owner, {}).items() if name != "__init__"}


def _run(model: Any, callback: Any, data: Any, **flags: Any) -> None:
    model.layer = torch.nn.Linear(2, 1)
    trainer = Trainer(**{**QUIET, "callbacks": [callback, ModelCheckpoint()], "gradient_clip_val": 1.0, **flags})
    trainer.fit(model, datamodule=data)
    path = trainer.checkpoint_callback.best_model_path
    trainer.validate(model, datamodule=data, ckpt_path=path, verbose=False)
    trainer.test(model, datamodule=data, verbose=False)
    trainer.predict(model, datamodule=data)
    again = Trainer(**{**QUIET, "callbacks": [callback, ModelCheckpoint()], "max_epochs": 2, **flags})
    again.fit(model, datamodule=data, ckpt_path=path)


@cache
def heard(version: str) -> frozenset[str]:
    """The hooks that runs call, as ``owner.hook`` and ``owner.hook(parameter)``."""
    of_module = {
        **_hooks(version, "ModelHooks", "DataHooks", "CheckpointHooks"),
        **{name: value for name, value in _hooks(version, "LightningModule").items() if name in _MODULE},
    }
    of_data = _hooks(version, "DataHooks", "CheckpointHooks")
    of_callback = {name: value for name, value in _hooks(version, "Callback").items() if name != "state_key"}
    found: set[str] = set()
    parts = [("module", of_module), ("data", of_data), ("callback", of_callback)]
    if not _try(found, dict(parts)):  # something is not there: look at one hook after the other
        for part, hooks in parts:
            for name, parameters in hooks.items():
                needed = {one: of_module[one] for one in ("configure_optimizers", "training_step") if one in of_module}
                chosen = {"module": dict(needed), "data": {}, "callback": {}}
                chosen[part][name] = parameters
                _try(found, chosen)
    return frozenset(found)


def _try(found: set[str], hooks: dict[str, dict[str, list[str]]]) -> bool:
    loaders = {f"{stage}_dataloader": [] for stage in ("train", "val", "test", "predict")}
    steps = {name: ["batch", "batch_idx"] for name in _STEPS}
    heard: dict[str, set[str]] = {"module": set(), "data": set(), "callback": set()}
    module = {name: value for name, value in hooks["module"].items() if name not in _APART}
    callback = {name: value for name, value in hooks["callback"].items() if name not in _APART}
    in_module = {name: value for name, value in loaders.items() if not hooks["data"] or name in module}
    passed = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = _class(LightningModule, heard["module"], {**steps, **in_module, **module})()
            data = _class(LightningDataModule, heard["data"], {**loaders, **hooks["data"]})() if hooks["data"] else None
            if data is not None and len(hooks["data"]) > 1:  # the module's loaders are asked for where nobody else is
                _run(model, _class(Callback, heard["callback"], callback)(), None)
                model = _class(LightningModule, set(), steps | {"configure_optimizers": []})()
            _run(model, _class(Callback, heard["callback"], callback)(), data)
            heard["callback"] |= _interrupted({name for name in hooks["callback"] if name in _APART}, hooks["callback"])
        except Exception:
            passed = False
    if passed:
        found.update(f"{part}.{name}" for part, names in heard.items() for name in names)
    return passed


def _interrupted(names: set[str], hooks: dict[str, list[str]]) -> set[str]:
    """The hooks of a run that ends early."""
    heard: set[str] = set()
    for name in sorted(names):
        error = KeyboardInterrupt if name == "on_keyboard_interrupt" else ValueError
        model = _class(LightningModule, set(), {"configure_optimizers": [], "train_dataloader": []})()
        model.layer, model.automatic_optimization = torch.nn.Linear(2, 1), True

        def training_step(batch: Any, batch_idx: int, error: Any = error) -> Any:
            raise error

        model.training_step = training_step
        try:
            callback = _class(Callback, heard, {name: hooks[name]})()
            Trainer(**QUIET, enable_checkpointing=False, callbacks=[callback]).fit(model)
        except (error, SystemExit):
            pass
    return heard
