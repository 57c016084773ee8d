"""What Lightning 1.x's loops of training have beyond today's."""

from __future__ import annotations

from typing import Any

from fulmen.compat.v1.views import view
from fulmen.utilities.exceptions import MisconfiguredAttribute


class WORDS:
    """Names that today's classes do not have."""

    @view
    def running_loss(self: Any) -> Any:
        """Nothing keeps the last losses."""
        raise MisconfiguredAttribute(
            "No loop keeps the last losses.",
            got="`running_loss`, of Lightning 1.x",
            fix="Log the loss with `self.log`, and read `trainer.callback_metrics`; or keep a "
            "`torchmetrics.aggregation.RunningMean`.",
        )

    @view
    def split_idx(self: Any) -> int:
        """0: the splits of a batch have no number here."""
        return 0

    @view
    def batch_loop(self: Any) -> Any:
        """The loop of the epoch, which trains on each batch itself."""
        return getattr(self, "epoch_loop", self)

    @view
    def optimizer_loop(self: Any) -> Any:
        """Where the steps of automatic optimization are counted."""
        return self.batch_loop.automatic_optimization

    @view
    def manual_loop(self: Any) -> Any:
        """Where the steps of manual optimization are counted."""
        return self.batch_loop.manual_optimization

    def should_accumulate(self: Any) -> bool:
        """Whether the running batch leaves the weights alone."""
        return bool(self._should_accumulate())


class SIGNATURES:
    """Methods of today's classes that take more than they do: none."""
