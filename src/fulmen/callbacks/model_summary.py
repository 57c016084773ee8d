"""Shows what the model is made of when training begins."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any

from fulmen.callbacks.callback import Callback
from fulmen.utilities.model_summary.model_summary import ModelSummary as Summary
from fulmen.utilities.model_summary.model_summary import summarize as summarize_model
from fulmen.utilities.model_summary.table import fit_columns, format_table
from fulmen.utilities.rank_zero import rank_zero_info

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer


class ModelSummary(Callback):
    """Logs a table of the model's layers when `fit` begins.

    Columns: name, type, number of parameters, mode, and floating point operations; where the model has an
    ``example_input_array``, one forward pass fills in the operations and adds the sizes of inputs and outputs. Below
    them the totals.

    Args:
        max_depth: How deep to go: 1 shows the model's own layers, 2 theirs as well, -1 all, 0 shows nothing.
        **summarize_kwargs: Handed on to :meth:`summarize`, for subclasses that print the table another way.

    Example:
        >>> ModelSummary(max_depth=-1)._max_depth
        -1
    """

    def __init__(self, max_depth: int = 1, **summarize_kwargs: Any) -> None:
        self._max_depth = max_depth
        self._summarize_kwargs = summarize_kwargs

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._max_depth:
            return
        # Every process makes the summary, for the forward pass may wait for the others; the first one shows it.
        summary = self._summary(trainer, pl_module)
        if trainer.is_global_zero:
            self.summarize(
                summary._get_summary_data(),
                summary.total_parameters,
                summary.trainable_parameters,
                summary.model_size,
                summary.total_training_modes,
                total_flops=summary.total_flops,
                **self._summarize_kwargs,
            )

    def _summary(self, trainer: Trainer, pl_module: LightningModule) -> Summary:
        # DeepSpeed leaves a process the shards alone, and the number of elements of the whole.
        if any(hasattr(parameter, "ds_numel") for parameter in pl_module.parameters()):
            from fulmen.utilities.model_summary.model_summary_deepspeed import DeepSpeedSummary

            return DeepSpeedSummary(pl_module, max_depth=self._max_depth)
        return summarize_model(pl_module, max_depth=self._max_depth)

    @staticmethod
    def summarize(
        summary_data: list[tuple[str, list[str]]],
        total_parameters: int,
        trainable_parameters: int,
        model_size: float,
        total_training_modes: dict[str, int],
        total_flops: int,
        **summarize_kwargs: Any,
    ) -> None:
        """Shows the summary. Override it to show it another way.

        Args:
            summary_data: The table, column by column: a header and its cells.
            total_parameters: The number of parameters.
            trainable_parameters: How many of them are trained.
            model_size: The size of the parameters in megabytes.
            total_training_modes: How many modules are in mode ``"train"`` and in mode ``"eval"``.
            total_flops: The floating point operations of one forward pass with the example input.
            **summarize_kwargs: What the callback was made with.
        """
        # the rule is four characters longer than the lines
        room = shutil.get_terminal_size().columns - 4 if sys.stderr is not None and sys.stderr.isatty() else None
        table = format_table(
            summary_data if room is None else fit_columns(summary_data, room),
            total_parameters,
            trainable_parameters,
            model_size,
            total_training_modes,
            total_flops,
        )
        rank_zero_info("\n%s", table)
