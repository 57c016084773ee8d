"""Truncated backpropagation through time: a batch of sequences is trained on in splits of so many time steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from fulmen.compat import v1
from fulmen.compat.v1.nesting import Rows, nest_batch
from fulmen.compat.v1.step import FormerStep, former_step
from fulmen.loops.manual import Manual
from fulmen.utilities.exceptions import MisconfigurationException

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule


def steps_of(module: LightningModule) -> int:
    """After how many time steps gradients are cut; 0 for never, as in a module whose step takes no hidden state.

    Where that module has the attribute, it is one of the user's own; the Trainer's argument is meant for any module.
    """
    steps = getattr(module, "truncated_bptt_steps", 0)
    if not steps or not isinstance(steps, (int, float)):
        return 0
    by_trainer = getattr(module._trainer, "_former", {}).get("truncated_bptt_steps")
    return int(steps) if by_trainer or _step_of(module).takes_hiddens() else 0


def _step_of(module: LightningModule) -> FormerStep:
    return former_step(module) or FormerStep(module)


def split_batch(batch: Any, split_size: int) -> list[Any]:
    """Cuts a batch along time, the second dimension of its tensors and of its lists of sequences.

    Args:
        batch: A sequence of tensors of shape (batch, time, ...), and of sequences of sequences.
        split_size: Time steps in a split.

    Returns:
        The splits, each a list like the batch; what has no time is in all of them.

    Raises:
        MisconfigurationException: If it cannot be seen how long the sequences are.
    """
    parts = list(batch) if isinstance(batch, Sequence) and not isinstance(batch, str) else []
    lengths = {len(part[0]) for part in parts if _has_time(part)}
    if len(lengths) != 1:
        raise MisconfigurationException(
            "A batch is split along time where all of its parts are sequences of one length.",
            got=f"the lengths {sorted(lengths)}" if parts else f"a batch of type {type(batch).__name__}",
            fix="Override `tbptt_split_batch(self, batch, split_size)` and return the list of splits.",
        )
    return [
        [_cut(part, slice(start, start + split_size)) if _has_time(part) else part for part in parts]
        for start in range(0, lengths.pop(), split_size)
    ]


def _has_time(part: Any) -> bool:
    if isinstance(part, Tensor):
        return part.ndim > 1
    return isinstance(part, Sequence) and not isinstance(part, str) and len(part) > 0 and hasattr(part[0], "__len__")


def _cut(part: Any, when: slice) -> Any:
    return part[:, when] if isinstance(part, Tensor) else [one[when] for one in part]


def check_splits(module: LightningModule, step: FormerStep) -> None:
    """Raises if a step cannot be handed the hidden state.

    Raises:
        MisconfigurationException: Naming how to write it.
    """
    if not step.takes_hiddens():
        extras = "optimizer_idx, hiddens" if step.counted else "hiddens"
        raise MisconfigurationException(
            f"Where `truncated_bptt_steps` is set, `{type(module).__name__}.training_step` gets the hidden state.",
            got=f"truncated_bptt_steps={steps_of(module)} and a `training_step` without `hiddens`",
            fix=f'Write `def training_step(self, batch, batch_idx, {extras})` and return `{{"loss": loss, "hiddens": '
            "hiddens}`, or leave `truncated_bptt_steps` out.",
        )


class FormerManual(Manual):
    """Manual optimization with batches that come in splits; in 1.5 each of them counts as one step."""

    def check(self) -> None:
        """Complains also of a step that takes no hidden state."""
        super().check()
        step = former_step(self.module)
        if step is not None and step.split:
            check_splits(self.module, step)

    def step(self, batch: Any, index: int, last: bool) -> Any:
        """Runs one batch, split by split; see ``Automatic.step``."""
        before, step = self.progress.steps, former_step(self.module)
        split = step is not None and step.split
        outputs = self._in_splits(step, batch, index, last) if step and split else super().step(batch, index, last)
        if v1.version() == "1.5":
            self.progress.steps = before + 1
        return outputs

    def _in_splits(self, step: FormerStep, batch: Any, index: int, last: bool) -> Any:
        step.hiddens, results = None, self.book.results
        self.rows: Rows = []
        for split in self.module.tbptt_split_batch(batch, steps_of(self.module)):  # type: ignore[operator]
            if results is not None:
                results.begin_batch(split, index)
            self.rows.append([super().step(split, index, last) or None])
            step.hiddens = step.left
        if results is not None:
            results.begin_batch(batch, index)
        return nest_batch(self.rows)
