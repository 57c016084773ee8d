"""Metrics of classification that find out by themselves what kind of classification they are for."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredRun
from fulmen.utilities.imports import require
from fulmen.utilities.rank_zero import rank_zero_warn

torchmetrics: Any = require("torchmetrics", "metrics", "`pl.metrics`")

_COUNTS = ("tp", "fp", "tn", "fn")
_OLD_ONLY = ("compute_on_step", "multiclass", "is_multiclass", "pos_label")


class Kind(NamedTuple):
    """What a classification is.

    Attributes:
        task: ``"binary"``, ``"multiclass"`` or ``"multilabel"``.
        size: The number of classes or labels; 2 where it is binary.
        labels: Whether predictions are labels, so that more classes may turn up.
    """

    task: str
    size: int
    labels: bool


def kind_of(preds: Tensor, target: Tensor, num_classes: int | None, ignored: int | None = None) -> Kind:
    """Reads off a batch what is classified.

    Args:
        preds: Labels, probabilities or scores.
        target: Labels.
        num_classes: The number of classes, where the user gave one.
        ignored: A label that does not count.

    Returns:
        The kind.

    Raises:
        MisconfigurationException: If the shapes fit to none, or a label is beyond `num_classes`.
    """
    if preds.ndim == target.ndim + 1:
        return Kind("multiclass", preds.shape[1], False)
    if preds.shape != target.shape:
        raise MisconfigurationException(
            "Predictions are of the shape of the targets, or have a dimension for the classes in second place.",
            got=f"predictions of shape {tuple(preds.shape)}, targets of shape {tuple(target.shape)}",
            fix="Pass `(N,)` labels or probabilities, or `(N, C, ...)` scores with `(N, ...)` targets.",
        )
    if preds.is_floating_point():
        return Kind("binary", 2, False) if preds.ndim == 1 else Kind("multilabel", preds.shape[1], False)
    counted = target if ignored is None else target[target != ignored]
    top = max(int(one.max()) if one.numel() else 0 for one in (preds, counted))
    if num_classes is not None and top >= max(num_classes, 2):
        raise MisconfigurationException(
            "Labels are smaller than the number of classes.",
            got=f"the label {top} with num_classes={num_classes}",
            fix=f"Pass `num_classes={top + 1}` or more, or leave it out.",
        )
    if top <= 1 and num_classes in (None, 1):
        return Kind("binary", 2, True)
    return Kind("multiclass", max(top + 1, num_classes or 2), True)


class Inferring(torchmetrics.Metric):  # type: ignore[misc]
    """A metric of TorchMetrics whose task and number of classes are read off the first batch.

    Args:
        name: The name of the metric in ``torchmetrics``, which takes a `task`.
        num_classes: The number of classes or labels; None to have it found out.
        compute_on_step: Whether a call returns the value of the batch.
        binary: Whether labels 0 and 1 are a binary classification; else they are two classes.
        **settings: For the metric.
    """

    full_state_update = False

    def __init__(
        self,
        name: str,
        num_classes: int | None = None,
        compute_on_step: bool | None = None,
        binary: bool = True,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.metric_name, self.num_classes, self.binary = name, num_classes, binary
        self.compute_on_step = compute_on_step is not False
        self.settings = {key: value for key, value in settings.items() if key not in _OLD_ONLY}
        self.kind: Kind | None = None
        self.inner: Any
        self.add_module("inner", None)  # a child from the start: who notes what a module holds finds its place

    # The inner metric counts, synchronizes and remembers.

    def _wrap_update(self, update: Any) -> Any:
        return update

    def _wrap_compute(self, compute: Any) -> Any:
        return compute

    @property
    def update_called(self) -> bool:
        """Whether there was a batch since the last reset."""
        return self.inner is not None and bool(self.inner.update_called)

    @property
    def update_count(self) -> int:
        """How many batches there were since the last reset."""
        return 0 if self.inner is None else self.inner.update_count

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Counts a batch."""
        preds = self._squeezed(preds, target)
        self._ready(preds, target).update(preds, target)

    def forward(self, preds: Tensor, target: Tensor) -> Any:
        """Counts a batch.

        Args:
            preds: Labels, probabilities or scores.
            target: Labels.

        Returns:
            The value of the batch alone.
        """
        preds = self._squeezed(preds, target)
        value = self.finish(self._ready(preds, target)(preds, target))
        self._forward_cache = value if self.compute_on_step else None
        return self._forward_cache

    def compute(self) -> Any:
        """The value of all batches since the last reset."""
        if self.inner is None:
            rank_zero_warn(f"`{type(self).__name__}.compute` was called before any batch was counted; it gives 0.")
            return torch.tensor(0.0)
        return self.finish(self.inner.compute())

    def finish(self, value: Any) -> Any:
        """What becomes of the inner metric's value."""
        return value

    def reset(self) -> None:
        """Forgets what was counted."""
        self._forward_cache = None
        if self.inner is not None:
            self.inner.reset()

    def dump_counts(self) -> dict[str, Any]:
        """What :meth:`load_counts` needs to make the inner metric, whose own counts are kept beside it."""
        return {"kind": None if self.kind is None else list(self.kind)}

    def load_counts(self, state: dict[str, Any]) -> None:
        """Makes the inner metric that was there when a run was saved."""
        if state.get("kind") is not None:
            self.kind = Kind(*state["kind"])
            self.inner = self._make(self.kind).to(self.device)

    def _squeezed(self, preds: Tensor, target: Tensor) -> Tensor:
        return preds.squeeze(1) if preds.ndim == target.ndim + 1 and preds.shape[1] == 1 else preds

    def _ready(self, preds: Tensor, target: Tensor) -> Any:
        kind = kind_of(preds, target, self.num_classes, self.settings.get("ignore_index"))
        if not self.binary and kind.task == "binary" and kind.labels:
            kind = Kind("multiclass", 2, True)
        if self.kind is None or self.inner is None:
            self.inner, self.kind = self._make(kind).to(preds.device), kind
        elif kind[:2] != self.kind[:2] and not self._covers(kind):
            self._grow(kind)
        return self.inner

    def _make(self, kind: Kind) -> Any:
        sizes = {"multiclass": {"num_classes": kind.size}, "multilabel": {"num_labels": kind.size}}.get(kind.task, {})
        settings = dict(self.settings)
        name = self.metric_name
        if settings.pop("subset_accuracy", False) and kind.task == "multilabel":
            name = "ExactMatch"
            settings = {key: settings[key] for key in ("threshold", "ignore_index") if key in settings}
        return getattr(torchmetrics, name)(task=kind.task, **sizes, **settings)

    def _covers(self, kind: Kind) -> bool:
        """Whether the batch fits to what is there: its labels are fewer than they might be."""
        assert self.kind is not None
        return kind.labels and self.kind.task == "multiclass" and kind.size <= self.kind.size

    def _grow(self, kind: Kind) -> None:
        """Makes room for more classes without losing counts."""
        before = self.kind
        assert before is not None
        scored = [one for one in (before, kind) if not one.labels]
        fits = kind.task == "multiclass" and before.task in ("binary", "multiclass") and before.labels
        states = {name: getattr(self.inner, name) for name in self.inner._defaults}
        if not fits or kind.size < before.size or any(isinstance(state, list) for state in states.values()):
            raise MisconfiguredRun(
                f"`{type(self).__name__}` was made for one kind of classification by its first batch, and another "
                "came.",
                got=f"{_shown(before)}, then {_shown(kind)}",
                fix="Say what it is for: `num_classes=` with the number of classes"
                + (f" ({max(before.size, kind.size)})" if not scored else "")
                + f", or `torchmetrics.{self.metric_name}(task=..., num_classes=...)`. Reset it between data that are "
                "different.",
            )
        inner = self._make(kind).to(self.inner.device)
        for name, value in _wider(states, before, kind.size).items():
            empty = getattr(inner, name)
            setattr(inner, name, value if value.shape == empty.shape else value.sum().reshape(empty.shape))
        inner._update_count = self.inner._update_count
        self.inner, self.kind = inner, kind


def _shown(kind: Kind) -> str:
    size = "" if kind.task == "binary" else f" with {kind.size}"
    return f"{kind.task}{size} ({'labels' if kind.labels else 'scores'})"


def _wider(states: dict[str, Tensor], before: Kind, size: int) -> dict[str, Tensor]:
    """Counts of a classification with fewer classes, as those of one with more."""
    if "confmat" in states:
        added = size - states["confmat"].shape[0]
        return {"confmat": torch.nn.functional.pad(states["confmat"], (0, added, 0, added))}
    tp, fp, tn, fn = (states[name] for name in _COUNTS)
    samples, per_class, known = tp + fn, tp.numel() > 1, before.size
    if before.task == "binary":
        both = [tn.reshape(()), tp.reshape(())], [fn.reshape(()), fp.reshape(())], [fp.reshape(()), fn.reshape(())]
        hits, false, missed = (torch.stack(pair) for pair in both)
        tp, fp, tn, fn = hits, false, hits.flip(0), missed
        samples, per_class = (tp + fn).sum(), True
    elif per_class:
        samples = samples.sum()
    if not per_class:
        return {"tp": tp, "fp": fp, "tn": tn + samples * (size - known), "fn": fn}
    pad = (0, size - known)
    wide = {name: torch.nn.functional.pad(one, pad) for name, one in (("tp", tp), ("fp", fp), ("fn", fn))}
    wide["tn"] = torch.nn.functional.pad(tn, pad, value=0) + (torch.arange(size, device=tn.device) >= known) * samples
    return wide
