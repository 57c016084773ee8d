"""Several optimizers as in 1.x: for each of them a call of ``training_step``, which is told its number."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.optim import Optimizer

from fulmen.compat import v1
from fulmen.compat.v1.heard import taken
from fulmen.compat.v1.nesting import Rows, nest_batch
from fulmen.compat.v1.splits import check_splits, steps_of
from fulmen.compat.v1.step import FormerStep, noted
from fulmen.loops.optimize import Automatic
from fulmen.loops.recipe import needs_closure
from fulmen.loops.window import Window
from fulmen.utilities.exceptions import MisconfiguredRun
from fulmen.utilities.grads import gradients_of, put_gradients

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule


class _Part:
    """One of the optimizers.

    Attributes:
        direct: Whether its closure is called before its step.
        opens: Whether its next batch begins an accumulation window.
        gathered: The last loss, where somebody may want it.
        hiddens: What its last split left.
    """

    def __init__(self, index: int, optimizer: Optimizer, wrapped: Any, window: Window, direct: bool) -> None:
        self.index, self.optimizer, self.wrapped, self.window, self.direct = index, optimizer, wrapped, window, direct
        self.opens = True
        self.gathered: Tensor | None = None
        self.hiddens: Any = None


class ByIndex(Automatic):
    """Runs each batch once for each optimizer, or for the one whose turn it is; and split by split where it is split.

    While one is at work, parameters of the others need no gradient.
    """

    rows: Rows = []  # replaced by each batch
    gathers = True  # backward itself would wait for parameters of the optimizers that are not at work

    @property
    def former(self) -> FormerStep:
        """The step, which is told the number of the optimizer."""
        return noted(self.module)["_former_step"]  # type: ignore[no-any-return]

    @property
    def turns(self) -> tuple[int, ...]:
        """For how many batches each optimizer works before the next does; empty where each works on all."""
        return tuple(getattr(self.trainer.strategy, "optimizer_frequencies", ()))

    def check(self) -> None:
        """Complains of a step that cannot be told which optimizer it computes a loss for.

        Raises:
            RuntimeError: If there are several.
        """
        count, name = len(self.trainer.optimizers), type(self.module).__name__
        if count > 1 and not self.former.takes_index():
            raise MisconfiguredRun(
                f"`{name}` has several optimizers, so its `training_step` is told for which one it computes a loss.",
                got=f"{count} optimizers and a `training_step` without the argument `optimizer_idx`",
                fix='Return them by name, `{"a": optimizer_a, "b": optimizer_b}`, and from `training_step` '
                'a loss for each, `{"a": loss_a, "b": loss_b}`; or write `def training_step(self, batch, batch_idx, '
                "optimizer_idx)` as in Lightning 1.x; or set `self.automatic_optimization = False` in `__init__`.",
            )
        self.former.counted = count > 1
        if steps_of(self.module):
            check_splits(self.module, self.former)

    def begin_epoch(self) -> None:
        """Looks up everything that a step needs."""
        super().begin_epoch()
        self.every = sys.maxsize  # only what is passed as the last batch closes a window
        trainer, recipe = self.trainer, self.recipe
        plain = recipe.optimizer_step is None and recipe.stranger is None
        self.parts: list[_Part] = []
        for optimizer, wrapped in zip(trainer.optimizers, trainer.strategy._lightning_optimizers, strict=True):
            window = Window(self.planned, exact=trainer.exact_accumulation)
            direct = plain and not needs_closure(optimizer)
            self.parts.append(_Part(len(self.parts), optimizer, wrapped, window, direct))
            wrapped._stepper = self.step_from_hook
        self.active = self.parts
        self.former.counted, self.former.split = len(self.parts) > 1, steps_of(self.module) > 0
        self._counts_once = v1.version() == "1.5"
        togglers: tuple[Toggler | None, Toggler | None] = (None, None)
        self._toggles, self._untoggles = _togglers(self.module) if len(self.parts) > 1 else togglers

    def step(self, batch: Any, index: int, last: bool) -> Any:
        """Runs one batch, for each optimizer and split; see ``Automatic.step``."""
        place = index
        if self.turns:
            part, place, ends = self._turn(index)
            self.active, last = [part], last or ends
        closing = last or (place + 1) % self.planned == 0
        former, results, before = self.former, self.book.results, self.progress.steps
        splits = self._splits(batch)
        for part in self.parts:
            part.hiddens = None
        self.rows = []
        with self._one_scale(closing):
            for number, split in enumerate(splits):
                if former.split and results is not None:
                    results.begin_batch(split, index)
                # with accumulation, the splits of a window are one step
                closes = closing and (self.planned == 1 or number + 1 == len(splits))
                self.rows.append(self._round(split, index, closes))
        if former.split and results is not None:
            results.begin_batch(batch, index)
        self.closed = closing
        if self._counts_once and closing:
            self.progress.steps = before + 1
        return nest_batch(self.rows) if self.keeps_outputs else None

    def flush(self) -> None:
        """Steps on what open windows have gathered, where the data ended sooner than was known."""
        before = self.progress.steps
        for part in self.parts:
            if not part.opens:
                self._turn_to(part)
                self.closed = False
                super().flush()
                part.opens = True
        if self._counts_once and self.progress.steps > before:
            self.progress.steps = before + 1

    def end_epoch(self) -> None:
        """Lets go of the last batch."""
        super().end_epoch()
        self.rows = []
        for part in self.parts:
            part.gathered = part.hiddens = None

    def batches_in_window(self, index: int) -> int:
        """How many batches of the window that a batch belongs to come before it."""
        return (self._turn(index)[1] if self.turns else index) % self.planned

    def state_dict(self, failed: bool = False) -> dict[str, Any]:
        """What accumulation windows that are open have gathered; empty where none is."""
        if self.closed or failed:
            return {}
        windows = {str(part.index): part.window.state_dict() for part in self.parts if not part.opens}
        return {"windows": windows, "gradients": gradients_of(self.module)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave, after :meth:`begin_epoch`."""
        if "windows" not in state:
            return
        factor = 1.0
        for index, saved in state["windows"].items():
            if int(index) < len(self.parts):
                part = self.parts[int(index)]
                factor = part.window.load_state_dict(saved)
                part.opens = False
        put_gradients(self.module, state["gradients"], factor)
        self.closed = False

    def works(self, optimizer: Any) -> bool:
        """Whether an optimizer was at work on the running batch."""
        return any(part.optimizer is optimizer for part in self.active)

    def _round(self, split: Any, index: int, closes: bool) -> list[Any]:
        former, row = self.former, [None] * len(self.parts)
        for part in self.active:
            self._turn_to(part)
            former.optimizer_idx, former.hiddens, former.left = part.index, part.hiddens, None
            self._toggle(part)
            try:
                row[part.index] = super().step(split, index, closes) or None
            finally:
                self._untoggle(part)
            part.opens, part.gathered, part.hiddens = self.opens, self._gathered, former.left
        return row

    def _turn(self, index: int) -> tuple[_Part, int, bool]:
        """Whose turn a batch is, how many of the turn's come before it, and whether it is the last of them."""
        place = index % sum(self.turns)
        for part, batches in zip(self.parts, self.turns, strict=True):
            if place < batches:
                return part, place, place + 1 == batches
            place -= batches
        raise AssertionError("the place is less than the sum of all turns")

    def _splits(self, batch: Any) -> Sequence[Any]:
        module = self.module
        if not self.former.split:
            return (batch,)
        return list(module.tbptt_split_batch(batch, steps_of(module)))  # type: ignore[operator]

    def _one_scale(self, closing: bool) -> AbstractContextManager[Any]:
        """Losses that were scaled before any optimizer of the window steps keep their scale until all have."""
        return self.recipe.precision.one_update() if closing and self.planned > 1 else nullcontext()

    def _toggle(self, part: _Part) -> None:
        if self._toggles is not None:
            self._toggles(part.optimizer, part.index)

    def _untoggle(self, part: _Part) -> None:
        if self._untoggles is not None:
            self._untoggles(part.optimizer, part.index)

    def _turn_to(self, part: _Part) -> None:
        self.part, self.optimizer, self.wrapped, self.window = part, part.optimizer, part.wrapped, part.window
        self.direct, self.opens, self._gathered = part.direct, part.opens, part.gathered


Toggler = Callable[[Optimizer, int], Any]


def _togglers(module: LightningModule) -> tuple[Toggler, Toggler]:
    """How a module's optimizers are toggled; a user's methods may take one of the two that they are called with."""
    toggle: Callable[..., Any] = module.toggle_optimizer
    untoggle: Callable[..., Any] = module.untoggle_optimizer
    numbered, by_number = len(taken(toggle)[0]) > 1, taken(untoggle)[0][:1] == ["optimizer_idx"]
    return (
        (lambda optimizer, index: toggle(optimizer, index)) if numbered else (lambda optimizer, _: toggle(optimizer)),
        lambda optimizer, index: untoggle(index if by_number else optimizer),
    )
