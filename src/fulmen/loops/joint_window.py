"""An accumulation window that several processes share: its gradient is that of one big batch of all their samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from fulmen.loops.window import Window, size_of
from fulmen.utilities.exceptions import MisconfiguredRun

if TYPE_CHECKING:
    from fulmen.strategies.strategy import Strategy


class JointWindow(Window):
    """Weighs losses in the same way on all processes, so that their weights stay the same.

    Losses are weighed relative to one number, which processes agree on at the first batch of an epoch. Where batches
    have the same size on all of them, what one process knows of a window is enough to correct it. Else the weights of a
    window are added up over processes when it closes. The gradients come in as the mean over processes.

    Args:
        planned: Batches in a window.
        strategy: How the processes agree.
        alike: Whether batches have the same size on all processes.
    """

    def __init__(self, planned: int, strategy: Strategy, alike: bool) -> None:
        self.strategy, self.alike = strategy, alike
        self._joint: bool | None = None  # whether weights are added up; None until that is agreed on
        self._reference = 1.0
        super().__init__(planned)

    def open(self) -> None:
        super().open()
        if self._joint is not None:
            self._first = self._reference

    def share(self, loss: Tensor, weight: float | None, batch: Any) -> Tensor:
        size = size_of(batch) if weight is None else weight
        self._agree(size or 0.0, weight is not None)
        if weight is not None and not self._joint:
            raise MisconfiguredRun(
                'Either all batches of an epoch have a "loss_weight" or the first has none.',
                got='`training_step` returned the first "loss_weight" of the epoch after its first batch',
                fix='Return `{"loss": loss, "loss_weight": number_of_samples}` for each batch.',
            )
        return super().share(loss, self._reference if size is None else size, batch)

    def skip(self, batch: Any) -> float:
        """Counts a batch that ``training_step`` has skipped.

        Where weights are not added up, it has to count as it does on other processes, with a gradient of zero.
        """
        size = size_of(batch) or 0.0
        self._agree(size, False)
        counted = 0.0 if self._joint else size or self._reference
        self._sum += counted
        return counted

    def pass_over(self) -> None:
        """Takes part without a batch."""
        self._agree(0.0, False)

    def _agree(self, size: float, said: bool) -> None:
        if self._joint is None:
            largest, anybody_said = self.strategy.combine_numbers([size, float(said)], "max")
            self._joint = bool(anybody_said) or not self.alike
            self._reference = self._first = largest or 1.0

    @property
    def correction(self) -> float:
        if not self._joint:
            return super().correction if self._sum else 1.0
        (total,) = self.strategy.combine_numbers([self._sum], "sum")
        return self.planned * self._reference * self.strategy.world_size / total if total else 1.0

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "joint": self._joint}

    def load_state_dict(self, state: dict[str, Any]) -> float:
        factor = super().load_state_dict(state)
        if self._first is not None:
            self._reference, self._joint = self._first, state.get("joint", True)
        return factor
