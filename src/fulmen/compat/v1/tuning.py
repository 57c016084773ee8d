"""``trainer.tune`` and ``trainer.tuner`` of 1.x, by the finders of today."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fulmen.compat.v1.hints import hint
from fulmen.compat.v1.run_flags import former
from fulmen.tuner.tuning import Tuner

if TYPE_CHECKING:
    from fulmen.callbacks.lr_search import LRFinder
    from fulmen.trainer.trainer import Trainer


class FormerTuner(Tuner):
    """The tuner at ``trainer.tuner``: it suggests a rate, and sets it only if asked to."""

    def lr_find(self, *given: Any, **named: Any) -> LRFinder | None:
        """See :meth:`fulmen.tuner.tuning.Tuner.lr_find`; `update_attr` is False here."""
        return super().lr_find(*given, **{"update_attr": False, **named})


def tune(trainer: Trainer, model: Any, batch_options: Any, rate_options: Any, **data: Any) -> dict[str, Any]:
    """Looks for what `auto_scale_batch_size` and `auto_lr_find` ask for, and sets it.

    Args:
        trainer: The Trainer.
        model: The module.
        batch_options: Arguments of the search for a batch size.
        rate_options: Arguments of the search for a rate.
        **data: Loaders and the method that they are for.

    Returns:
        What was found, as ``"scale_batch_size"`` and ``"lr_find"``.
    """
    hint("`trainer.tune(model)`", "`Tuner(trainer).scale_batch_size(model)` and `Tuner(trainer).lr_find(model)`.")
    flags, found = former(trainer), dict[str, Any]()
    size, rate = flags.get("auto_scale_batch_size"), flags.get("auto_lr_find")
    data = {name: value for name, value in data.items() if value is not None}
    trainer.__dict__["_tuning"] = True
    try:
        if size:
            options = {"mode": size if isinstance(size, str) else "power", **(batch_options or {})}
            found["scale_batch_size"] = Tuner(trainer).scale_batch_size(model, **data, **options)
        if rate:
            options = {"attr_name": rate if isinstance(rate, str) else "", **(rate_options or {})}
            found["lr_find"] = Tuner(trainer).lr_find(model, **data, **options)
    finally:
        trainer.__dict__["_tuning"] = False
    return found
