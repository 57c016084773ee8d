"""``training_epoch_end(outputs)`` and its sisters: what steps give is kept, and handed over at the end of an epoch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from fulmen.compat.v1.former import Former, former_of
from fulmen.compat.v1.heard import present, put, taken, users
from fulmen.compat.v1.hints import hint
from fulmen.compat.v1.nesting import nest, rows_of
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.rank_zero import warn_once
from fulmen.utilities.states import TrainerFn
from fulmen.utilities.tree import apply_to_collection

if TYPE_CHECKING:
    from fulmen.callbacks.callback import Callback
    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer

_TODAY = (
    "append what you need to a list of your own in `{step}`, and use and clear it in `{end}(self)`, or let "
    "`self.log(..., on_epoch=True)` and TorchMetrics do it."
)
_PARTS = ("log", "progress_bar")
STAGES = {"train": "training", "validation": "validation", "test": "test"}


class Outputs:
    """What the steps of an epoch gave, for those who want it at its end.

    Args:
        former: The companion that hears of the steps.
    """

    def __init__(self, former: Former) -> None:
        self.former, self.trainer = former, former.trainer
        self._trained: list[list[list[Any]]] = []
        self._evaluated: dict[int, list[Any]] = {}
        self._heard = {"train": 0, "evaluate": 0}

    def keep(self, stage: str) -> None:
        """Begins to keep what the steps of a stage give.

        Args:
            stage: ``"train"``, ``"validation"`` or ``"test"``.
        """
        former, training = self.former, stage == "train"
        former.ahead(f"on_{stage}_epoch_start", self._open_training if training else self._open_evaluation)
        former.ahead(f"on_{stage}_batch_end", self._take_training if training else self._take_evaluation)
        former.ahead(f"on_{stage}_epoch_end", getattr(self, f"_end_{stage}"))
        former.afterwards(f"on_{stage}_epoch_end", self._open_training if training else self._open_evaluation)

    def training(self) -> list[Any]:
        """What the training steps of the epoch gave, nested as 1.x did."""
        if self._heard["train"] < self.trainer.progress.batch:
            _say_incomplete()
        return nest(self._trained)

    def evaluation(self) -> list[Any]:
        """What the steps of the evaluation gave: a list, or a list for each loader where there are several."""
        trainer = self.trainer
        fn = trainer.state.fn
        loop = trainer.fit_loop.validation if fn in (None, TrainerFn.FITTING) else trainer.loop_of(fn)
        lists = [self._evaluated.get(index, []) for index in range(len(loop.max_batches))]
        if sum(loop.seen.values()) > self._heard["evaluate"] and loop.saved is not None:
            _say_incomplete()
        return lists[0] if len(lists) == 1 else lists

    def of(self, stage: str) -> Callable[[], list[Any]]:
        """How to get the outputs of a stage."""
        return self.training if stage == "train" else self.evaluation

    def _open_training(self) -> None:
        self._trained, self._heard["train"] = [], 0

    def _open_evaluation(self) -> None:
        self._evaluated, self._heard["evaluate"] = {}, 0

    def _take_training(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._heard["train"] += 1
        self._trained.append(self._detached(rows_of(self.trainer, outputs)))

    def _take_evaluation(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
        self._heard["evaluate"] += 1
        if outputs is not None:
            self._evaluated.setdefault(dataloader_idx, []).append(self._detached(outputs))

    def _detached(self, outputs: Any) -> Any:
        aside = bool(getattr(self.trainer, "move_metrics_to_cpu", False))

        def detached(tensor: Tensor) -> Tensor:
            return tensor.detach().cpu() if aside else tensor.detach()

        return apply_to_collection(outputs, Tensor, detached)

    def _end_train(self) -> None:
        self._call("training_epoch_end", self.training)

    def _end_validation(self) -> None:
        self._call("validation_epoch_end", self.evaluation)

    def _end_test(self) -> None:
        self._call("test_epoch_end", self.evaluation)

    def _call(self, hook: str, outputs: Callable[[], list[Any]]) -> None:
        module = self.trainer.lightning_module
        method = users(module, hook)
        if method is None:
            return
        with self.former.hook(hook):
            returned = method(outputs())
            if isinstance(returned, Mapping):
                log_returned(module, hook, returned)
            elif returned is not None and hook == "training_epoch_end":
                raise MisconfigurationException(
                    "`training_epoch_end` returns nothing.",
                    got=f"{type(returned).__name__} from `{type(module).__name__}.training_epoch_end`",
                    fix="Log what others should see, `self.log(name, value)`, and leave out the `return`.",
                )


def outputs_of(trainer: Trainer, owner: object) -> Outputs:
    """The outputs that a run keeps; nothing is kept until somebody asks for a stage's.

    Args:
        trainer: The Trainer.
        owner: Who asks.
    """
    former = former_of(trainer, owner)
    if Outputs not in former.parts:
        former.parts[Outputs] = Outputs(former)
    return former.parts[Outputs]  # type: ignore[no-any-return]


def adapt_module(trainer: Trainer, module: LightningModule) -> None:
    """Has outputs kept for those hooks of a module that want them.

    Args:
        trainer: The Trainer.
        module: The module.
    """
    for stage, word in STAGES.items():
        end, today = f"{word}_epoch_end", f"on_{stage}_epoch_end"
        step = f"{word}_step"
        if users(module, end) is not None:
            hint(f"`{end}(outputs)`", _TODAY.format(step=step, end=today))
            outputs_of(trainer, module).keep(stage)
        method = users(module, today)
        if method is not None and _wants_outputs(method, 0):
            hint(f"`{today}(outputs)`", _TODAY.format(step=step, end=today))
            outputs = outputs_of(trainer, module)
            put(module, today, _with(present(module, today), outputs.of(stage)))
            outputs.keep(stage)
    method = users(module, "on_predict_epoch_end")
    if method is not None and _wants_outputs(method, 0):
        _hint_predictions()
        put(
            module,
            "on_predict_epoch_end",
            _with(present(module, "on_predict_epoch_end"), lambda: trainer.predict_loop._predictions),
        )


def adapt_callback(trainer: Trainer, callback: Callback) -> None:
    """Has outputs kept for those hooks of a callback that want them.

    Args:
        trainer: The Trainer.
        callback: The callback.
    """
    for stage, word in STAGES.items():
        name = f"on_{stage}_epoch_end"
        method = users(callback, name)
        if method is not None and _wants_outputs(method, 2):
            hint(f"`Callback.{name}(trainer, pl_module, outputs)`", _TODAY.format(step=f"{word}_step", end=name))
            outputs = outputs_of(trainer, callback)
            outputs.keep(stage)
            put(callback, name, _with(present(callback, name), outputs.of(stage)))
    method = users(callback, "on_predict_epoch_end")
    if method is not None and _wants_outputs(method, 2):
        _hint_predictions()
        put(
            callback,
            "on_predict_epoch_end",
            _with(present(callback, "on_predict_epoch_end"), lambda: trainer.predict_loop._predictions),
        )


def log_returned(module: LightningModule, hook: str, returned: Mapping[str, Any]) -> None:
    """Logs what a hook returned as in 1.0: ``{"val_loss": ..., "log": {...}, "progress_bar": {...}}``.

    Values that were logged by name in the same pass are left as they are.

    Args:
        module: The module.
        hook: The hook.
        returned: What it returned. What is outside of its two parts is for callbacks alone.
    """
    for_loggers, for_bar = _mapping(returned.get("log")), _mapping(returned.get("progress_bar"))
    plain = {key: value for key, value in returned.items() if key not in _PARTS}
    results = module.trainer.logbook.results
    by_name = {entry.name for entry in results.entries() if entry.hook != hook} if results is not None else set()
    by_name |= {name for name, entry in module.trainer.logbook.entries.items() if entry.updated}
    values = {
        key: value
        for key, value in {**plain, **for_bar, **for_loggers}.items()
        if (isinstance(value, (int, float)) or (isinstance(value, Tensor) and value.numel() == 1))
    }
    if values:
        hint(f"a dict returned by `{hook}`", "`self.log(name, value, prog_bar=True)`.")
    for key, value in values.items():
        if key not in by_name:
            module.log(key, value, prog_bar=key in for_bar, logger=key in for_loggers, batch_size=1)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _wants_outputs(method: Callable[..., Any], beyond: int) -> bool:
    """Whether a hook takes one argument more than those that it gets today."""
    names, required = taken(method)
    return required > beyond or any(name in ("outputs", "results") for name in names[beyond:])


def _with(method: Callable[..., Any], outputs: Callable[[], Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def called(*args: Any) -> Any:
        return method(*args, outputs())

    called.__dict__.pop("__wrapped__", None)  # it takes one argument less
    return called


def _hint_predictions() -> None:
    hint(
        "`on_predict_epoch_end(results)`",
        "`on_predict_epoch_end(self)` without it, and what `trainer.predict` returns; or a `BasePredictionWriter`.",
    )


def _say_incomplete() -> None:
    warn_once(
        "A run that goes on in the middle of an epoch has the outputs of the batches after that point only: "
        "`*_epoch_end(outputs)` gets fewer than the epoch has batches. Metrics that are logged or kept as TorchMetrics "
        "are complete."
    )
