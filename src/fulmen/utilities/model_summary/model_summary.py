"""Layers, parameters, sizes and operations of a model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.hooks import RemovableHandle

from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.model_summary.table import format_table
from fulmen.utilities.model_summary.table import get_formatted_model_size as get_formatted_model_size
from fulmen.utilities.model_summary.table import get_human_readable_count as get_human_readable_count
from fulmen.utilities.rank_zero import rank_zero_warn

if TYPE_CHECKING:
    from torch.utils.flop_counter import FlopCounterMode

    from fulmen.core.module import LightningModule

UNKNOWN_SIZE = "?"
NOT_APPLICABLE = "n/a"
LEFTOVER_PARAMS_NAME = "other params"


class LayerSummary:
    """What there is to say about one layer: its type, its parameters, and the sizes of what went in and came out.

    The sizes are those of the first forward pass after this object was made.

    Args:
        module: The layer.

    Example:
        >>> layer = torch.nn.Linear(8, 2)
        >>> summary = LayerSummary(layer)
        >>> _ = layer(torch.zeros(4, 8))
        >>> summary.num_parameters, summary.in_size, summary.out_size
        (18, [4, 8], [4, 2])
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._in_size: Any = None
        self._out_size: Any = None
        self._hook: RemovableHandle | None = None
        # Scripted modules take no hooks.
        if not isinstance(module, torch.jit.ScriptModule):
            self._hook = module.register_forward_hook(self._see)

    def _see(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self._in_size = parse_batch_shape(args[0] if len(args) == 1 else args)
        self._out_size = parse_batch_shape(output)
        self.detach_hook()

    def detach_hook(self) -> None:
        """Stops watching the layer."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    @property
    def in_size(self) -> Any:
        """The shape of the input, a list of shapes for several, or ``"?"``."""
        return self._in_size or UNKNOWN_SIZE

    @property
    def out_size(self) -> Any:
        """The shape of the output, a nest of shapes for several, or ``"?"``."""
        return self._out_size or UNKNOWN_SIZE

    @property
    def layer_type(self) -> str:
        """The name of the layer's class."""
        return type(self._module).__name__

    @property
    def num_parameters(self) -> int:
        """The number of parameters, those of its children included; lazy ones count once they have a shape."""
        return sum(parameter.numel() for parameter in self._module.parameters() if not is_lazy(parameter))

    @property
    def training(self) -> bool:
        """Whether the layer is in training mode."""
        return self._module.training


class ModelSummary:
    """What there is to say about a model and its layers.

    Where the model has an ``example_input_array``, one forward pass with it measures the sizes between the layers and
    counts floating point operations. The pass runs in evaluation mode and leaves no trace: modes, buffers and random
    states are as before. Lazy parameters take their shape from it, as they would in the first step.

    Args:
        model: The model.
        max_depth: How deep to go: 1 is the model's own children, 2 theirs as well, -1 all, 0 none.

    Raises:
        ValueError: If `max_depth` is something else.
    """

    def __init__(self, model: LightningModule, max_depth: int = 1) -> None:
        if not isinstance(max_depth, int) or max_depth < -1:
            raise ValueError(
                str(
                    MisconfigurationException(
                        "`max_depth` must be -1, 0 or more.",
                        got=max_depth,
                        fix="Pass 1 for the model's own layers, -1 for all of them, 0 for none.",
                    )
                )
            )
        self._model = model
        self._max_depth = max_depth
        self._flops: FlopCounterMode | None = None
        self._layer_summary = self.summarize()

    def summarize(self) -> dict[str, LayerSummary]:
        """Looks at the model, and runs its example input if it has one.

        Returns:
            The summaries of its layers by name.
        """
        summary = {name: self._summarize_layer(module) for name, module in self.named_modules}
        try:
            if self._model.example_input_array is not None:
                from fulmen.utilities.model_summary.example_forward import forward_example

                self._flops = forward_example(self._model)
        finally:
            for layer in summary.values():
                layer.detach_hook()
        if any(is_lazy(parameter) for parameter in self._model.parameters()):
            rank_zero_warn(
                "The model has parameters whose shape is not known yet (`UninitializedParameter`); they count as none. "
                "Set `self.example_input_array` in the LightningModule to have them counted."
            )
        return summary

    def _summarize_layer(self, module: nn.Module) -> LayerSummary:
        return LayerSummary(module)

    @property
    def named_modules(self) -> list[tuple[str, nn.Module]]:
        """The layers down to `max_depth`, with their names."""
        if self._max_depth == 0:
            return []
        modules = [(name, module) for name, module in self._model.named_modules() if name]
        return [(n, m) for n, m in modules if self._max_depth == -1 or n.count(".") < self._max_depth]

    @property
    def layer_names(self) -> list[str]:
        """The layers' names."""
        return list(self._layer_summary)

    @property
    def layer_types(self) -> list[str]:
        """The names of the layers' classes."""
        return [layer.layer_type for layer in self._layer_summary.values()]

    @property
    def in_sizes(self) -> list[Any]:
        """The shapes of the layers' inputs."""
        return [layer.in_size for layer in self._layer_summary.values()]

    @property
    def out_sizes(self) -> list[Any]:
        """The shapes of the layers' outputs."""
        return [layer.out_size for layer in self._layer_summary.values()]

    @property
    def param_nums(self) -> list[int]:
        """The numbers of the layers' parameters."""
        return [layer.num_parameters for layer in self._layer_summary.values()]

    @property
    def training_modes(self) -> list[bool]:
        """Whether each layer is in training mode."""
        return [layer.training for layer in self._layer_summary.values()]

    @property
    def total_training_modes(self) -> dict[str, int]:
        """How many modules below the model are in mode ``"train"`` and in mode ``"eval"``."""
        modes = [module.training for name, module in self._model.named_modules() if name]
        return {"train": sum(modes), "eval": len(modes) - sum(modes)}

    @property
    def total_parameters(self) -> int:
        """The number of parameters, each counted once."""
        return self._count(self._model.parameters())

    @property
    def trainable_parameters(self) -> int:
        """The number of parameters that require a gradient."""
        return self._count(p for p in self._model.parameters() if p.requires_grad)

    @property
    def total_layer_params(self) -> int:
        """The sum of the layers' parameters as shown, where one counts in each layer that shows it."""
        return sum(self.param_nums)

    @property
    def model_size(self) -> float:
        """The size of the parameters in megabytes, each at its own precision."""
        return sum(self._numel(p) * p.element_size() for p in self._model.parameters() if not is_lazy(p)) * 1e-6

    @property
    def flop_counts(self) -> dict[str, dict[Any, int]]:
        """The floating point operations of each layer, by operator."""
        counts = {} if self._flops is None else self._flops.get_flop_counts()
        root = type(self._model).__name__
        return {name: dict(counts.get(f"{root}.{name}", {})) for name in self.layer_names}

    @property
    def total_flops(self) -> int:
        """The floating point operations of one forward pass with the example input; 0 without one."""
        return 0 if self._flops is None else self._flops.get_total_flops()

    def _leftover(self) -> int:
        shown = {id(p) for _, module in self.named_modules for p in module.parameters()}
        return self._count(p for p in self._model.parameters() if id(p) not in shown)

    def _numel(self, parameter: nn.Parameter) -> int:
        return parameter.numel()

    def _count(self, parameters: Iterable[nn.Parameter]) -> int:
        return sum(self._numel(parameter) for parameter in parameters if not is_lazy(parameter))

    def _get_summary_data(self) -> list[tuple[str, list[str]]]:
        """The table, column by column: a header and its cells."""
        flops = [sum(counts.values()) for counts in self.flop_counts.values()]
        columns: list[tuple[str, list[str]]] = [
            (" ", [str(number) for number in range(len(self._layer_summary))]),
            ("Name", self.layer_names),
            ("Type", self.layer_types),
            ("Params", [get_human_readable_count(count) for count in self.param_nums]),
            ("Mode", ["train" if training else "eval" for training in self.training_modes]),
            ("FLOPs", [get_human_readable_count(count) for count in flops]),
        ]
        if self._model.example_input_array is not None:
            columns += [("In sizes", [str(s) for s in self.in_sizes]), ("Out sizes", [str(s) for s in self.out_sizes])]
        leftover = self._leftover()
        if leftover:
            row = {" ": " ", "Name": LEFTOVER_PARAMS_NAME, "Params": get_human_readable_count(leftover)}
            for header, cells in columns:
                cells.append(row.get(header, NOT_APPLICABLE))
        return columns

    def __str__(self) -> str:
        return format_table(
            self._get_summary_data(), self.total_parameters, self.trainable_parameters, self.model_size,
            self.total_training_modes, self.total_flops,
        )  # fmt: skip

    def __repr__(self) -> str:
        return str(self)


def parse_batch_shape(batch: Any) -> Any:
    """The shape of a batch.

    Args:
        batch: A tensor, a list or tuple of them, or anything else.

    Returns:
        The shape as a list, a list of the parts' shapes, or ``"?"``.

    Example:
        >>> parse_batch_shape((torch.zeros(4, 8), [torch.zeros(3), None]))
        [[4, 8], [[3], '?']]
    """
    if isinstance(batch, Tensor) or hasattr(batch, "shape"):
        return list(batch.shape)
    if isinstance(batch, (list, tuple)):
        return [parse_batch_shape(part) for part in batch]
    return UNKNOWN_SIZE


def summarize(lightning_module: LightningModule, max_depth: int = 1) -> ModelSummary:
    """Summarizes a model.

    Args:
        lightning_module: The model.
        max_depth: How deep to go: 1 is the model's own children, -1 all modules, 0 none.

    Returns:
        The summary; print it to see the table.
    """
    return ModelSummary(lightning_module, max_depth=max_depth)
