"""Under the alias, ``torchmetrics.Accuracy()`` without a task works as it did when 1.x was young."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

TASKS = ("binary", "multiclass", "multilabel")
_CLASSES = {
    "Accuracy": "Accuracy", "Precision": "Precision", "Recall": "Recall", "Specificity": "Specificity",
    "F1Score": "F1Score", "FBetaScore": "FBeta", "StatScores": "StatScores", "HammingDistance": "HammingDistance",
    "ConfusionMatrix": "ConfusionMatrix", "CohenKappa": "CohenKappa", "MatthewsCorrCoef": "MatthewsCorrcoef",
    "JaccardIndex": "Jaccard", "ROC": "ROC", "AUROC": "AUROC", "AveragePrecision": "AveragePrecision",
    "PrecisionRecallCurve": "PrecisionRecallCurve",
}  # fmt: skip
_FUNCTIONS = {
    "accuracy": "Accuracy", "precision": "Precision", "recall": "Recall", "specificity": "Specificity",
    "f1_score": "F1Score", "fbeta_score": "FBeta", "stat_scores": "StatScores", "hamming_distance": "HammingDistance",
    "confusion_matrix": "ConfusionMatrix", "cohen_kappa": "CohenKappa", "matthews_corrcoef": "MatthewsCorrcoef",
    "jaccard_index": "Jaccard", "roc": "ROC", "auroc": "AUROC", "average_precision": "AveragePrecision",
    "precision_recall_curve": "PrecisionRecallCurve",
}  # fmt: skip


def watch() -> None:
    """Helps TorchMetrics as soon as it is imported; until then nothing of it is."""
    if "torchmetrics" in sys.modules:
        help_torchmetrics(sys.modules["torchmetrics"])
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def forget() -> None:
    """Takes the help back."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
    while _undo:
        _undo.pop()()


_undo: list[Callable[[], None]] = []


class _Finder(importlib.abc.MetaPathFinder):
    """Sees TorchMetrics come, once."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "torchmetrics":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                help_torchmetrics(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def help_torchmetrics(module: ModuleType) -> None:
    """Lets its classes and functions do without a task.

    Args:
        module: ``torchmetrics``.
    """
    if _undo:
        return
    for name, former in _CLASSES.items():
        kind = getattr(module, name, None)
        if kind is not None:
            _help_class(kind, name, former)
    functional = importlib.import_module("torchmetrics.functional")
    within = importlib.import_module("torchmetrics.functional.classification")
    for name, former in _FUNCTIONS.items():
        function = getattr(functional, name, None)
        if function is not None:
            helped = _helped(function, name, former)
            for place in (functional, within):
                _replace(place, name, helped)


def _replace(place: Any, name: str, value: Any) -> None:
    before = getattr(place, name)
    setattr(place, name, value)
    _undo.append(lambda: setattr(place, name, before))


def _help_class(kind: Any, name: str, former: str) -> None:
    make = kind.__new__

    def __new__(cls: Any, *args: Any, **kwargs: Any) -> Any:
        if has_task(args, kwargs, 0):
            return make(cls, *args, **kwargs)
        return _former(name, former)(*args, **_settings(kwargs))

    __new__.__wrapped__ = make  # type: ignore[attr-defined]
    _replace(kind, "__new__", staticmethod(__new__))


def _helped(function: Callable[..., Any], name: str, former: str) -> Callable[..., Any]:
    def helped(*args: Any, **kwargs: Any) -> Any:
        if has_task(args, kwargs, 2):
            return function(*args, **kwargs)
        first = [kwargs.pop(word) for word in ("preds", "target") if word in kwargs]
        preds, target, *rest = [*args, *first] if not args else [args[0], *first, *args[1:]]
        return _former(name, former)(*rest, **_settings(kwargs))(preds, target)

    helped.__name__, helped.__doc__, helped.__wrapped__ = name, function.__doc__, function  # type: ignore[attr-defined]
    return helped


def has_task(args: tuple[Any, ...], kwargs: dict[str, Any], place: int) -> bool:
    """Whether a call says what kind of classification it is for.

    Args:
        args: What it gets by position.
        kwargs: What it gets by name.
        place: Where the task stands among the former.
    """
    return "task" in kwargs or any(isinstance(one, str) and one in TASKS for one in args[place : place + 1])


def _settings(kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of TorchMetrics 0.x, as those of the classes here are called."""
    known = dict(kwargs)
    if "num_labels" in known:
        known.setdefault("num_classes", known.pop("num_labels"))
    return known


def _former(name: str, former: str) -> Any:
    from fulmen.compat.v1.hints import hint
    from fulmen.compat.v1.metrics import classification

    hint(
        f"`torchmetrics` without a task, as in `{name}()`,",
        'say what it is for: `Accuracy(task="multiclass", num_classes=10)`.',
    )
    return getattr(classification, former)
