"""Shows what the model is made of when training begins, with rich."""

from __future__ import annotations

from typing import Any

from fulmen.callbacks.model_summary import ModelSummary
from fulmen.utilities.imports import require
from fulmen.utilities.model_summary.table import fit_columns, get_formatted_model_size, get_human_readable_count

_RIGHT = ("Params", "Params per Device", "FLOPs")
_SIZES = ("In sizes", "Out sizes")


class RichModelSummary(ModelSummary):
    """Prints a table of the model's layers with the package `rich` when `fit` begins.

    Args:
        max_depth: How deep to go: 1 shows the model's own layers, 2 theirs as well, -1 all, 0 shows nothing.
        **summarize_kwargs: Handed on to ``rich.table.Table``, for example ``header_style="bold blue"``.

    Raises:
        ModuleNotFoundError: If `rich` is not installed.
    """

    def __init__(self, max_depth: int = 1, **summarize_kwargs: Any) -> None:
        require("rich", "rich", "RichModelSummary")
        require("rich.style", "rich", "RichModelSummary")  # draws a number on import, which `require` gives back
        super().__init__(max_depth, **summarize_kwargs)

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
        from rich import get_console
        from rich.table import Table

        console = get_console()
        columns = fit_columns(summary_data, console.width - 4)  # a border, and a space at its side
        table = Table(**{"header_style": "bold magenta", **summarize_kwargs})
        for number, (header, _) in enumerate(columns):
            # The number's column tells the eye where a row is, no more.
            style = "dim" if number == 0 else "white" if header in _SIZES else None
            table.add_column(
                header, style=style, justify="right" if header in _RIGHT + _SIZES else "left", no_wrap=header == "Name"
            )
        for row in zip(*(cells for _, cells in columns), strict=True):
            table.add_row(*row)

        totals = Table.grid(expand=True)
        totals.add_column()
        for what, value in (
            ("Trainable params", get_human_readable_count(trainable_parameters)),
            ("Non-trainable params", get_human_readable_count(total_parameters - trainable_parameters)),
            ("Total params", get_human_readable_count(total_parameters)),
            ("Total estimated model params size (MB)", get_formatted_model_size(model_size)),
            ("Modules in train mode", str(total_training_modes["train"])),
            ("Modules in eval mode", str(total_training_modes["eval"])),
            ("Total FLOPs", get_human_readable_count(total_flops)),
        ):
            totals.add_row(f"[bold]{what}[/]: {value}")

        console.print(table)
        console.print(totals)
