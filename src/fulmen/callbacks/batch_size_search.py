"""The search for the largest batch size that fits: which sizes are tried, and what follows from each trial."""

from __future__ import annotations

from collections.abc import Callable

from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredRun, MisconfiguredValue
from fulmen.utilities.rank_zero import rank_zero_info

MODES = ("power", "binsearch")


def check_search(mode: str, steps: int, init_val: int, max_trials: int, margin: float, max_val: int) -> None:
    """Complains of a search that makes no sense.

    Raises:
        MisconfigurationException: Naming the argument.
    """
    if mode not in MODES:
        raise MisconfiguredValue(
            "`mode` should be either of ('power', 'binsearch').",
            got=mode,
            fix='Pass "power" to double, or "binsearch" to look between the last two sizes as well.',
        )
    for name, value in (
        ("steps_per_trial", steps), ("init_val", init_val), ("max_trials", max_trials), ("max_val", max_val)
    ):  # fmt: skip
        if not isinstance(value, int) or value < 1:
            raise MisconfiguredValue(
                f"`{name}` is an integer of 1 or more.", got=value, fix=f"Leave `{name}` out for its default."
            )
    if not 0 <= margin < 1:
        raise MisconfigurationException(
            "`margin` should be between 0 and 1: the part of the found size that is given up to be safe.",
            got=margin,
            fix="Pass 0.05 for 5 %.",
        )


class Search:
    """Finds the largest size that fits.

    Args:
        attempt: Tries a size; whether it fits.
        most: How many samples there are, once a trial has loaded them; None where nobody knows.
        max_val: Larger sizes are not tried.
    """

    def __init__(self, attempt: Callable[[int], bool], most: Callable[[], int | None], max_val: int) -> None:
        self.attempt, self.most, self.max_val = attempt, most, max_val
        self.fits = 0
        self.fails: int | None = None

    @property
    def limit(self) -> int:
        """The largest size that makes sense."""
        most = self.most()
        return self.max_val if most is None else min(self.max_val, max(most, 1))

    def run(self, mode: str, init_val: int, max_trials: int, margin: float) -> int:
        """Searches.

        Args:
            mode: ``"power"`` or ``"binsearch"``.
            init_val: Where to begin.
            max_trials: How many sizes to try at most.
            margin: The part that is given up, in the mode ``"binsearch"``.

        Returns:
            A size that was tried and fits, or under a margin one below it.

        Raises:
            MisconfigurationException: If none fits.
        """
        size: int | None = min(init_val, self.max_val)
        for _ in range(max_trials):
            if size is None:
                break
            tried, fits = size, self.attempt(size)
            if fits:
                self.fits = min(size, self.limit)  # no batch has more samples than there are
            else:
                self.fails = size
            size = self._next(mode)
            if size is not None:
                rank_zero_info(f"Batch size {tried} {'succeeded' if fits else 'failed'}, trying batch size {size}")
        if not self.fits:
            raise MisconfiguredRun(
                "The batch size finder found no size that fits into memory.",
                got=f"a want of memory at a batch size of {self.fails}",
                fix="Make the model or the samples smaller, use `precision='bf16-mixed'`, or free the device of other "
                "programs; if it is not down to 1, raise `max_trials` or lower `init_val`.",
            )
        return self._with_margin(margin) if mode == "binsearch" else self.fits

    def _next(self, mode: str) -> int | None:
        """The size to try next; None where the search is over."""
        if self.fails is None:
            if self.fits >= self.limit:
                rank_zero_info(f"Batch size {self.fits} succeeded, and {self._reason()}.")
                return None
            return min(self.fits * 2, self.limit)
        if not self.fits:
            return self.fails // 2 or None
        larger = (self.fits + self.fails) // 2 if mode == "binsearch" else min(self.fits * 2, self.limit)
        return larger if self.fits < larger < self.fails else None

    def _reason(self) -> str:
        if self.limit == self.max_val:
            return f"max_val={self.max_val} allows no larger one"
        return f"there are no more than {self.limit} samples"

    def _with_margin(self, margin: float) -> int:
        everything = self.fails is None and self.limit < self.max_val and self.fits == self.limit
        size = self.fits if everything else max(int(self.fits * (1 - margin)), 1)
        if size != self.fits:
            rank_zero_info(f"Applying margin of {margin * 100}%, reducing batch size from {self.fits} to {size}")
        return size
