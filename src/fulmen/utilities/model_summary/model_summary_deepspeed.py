"""The summary of a model whose parameters DeepSpeed holds in shards."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from fulmen.utilities.model_summary.model_summary import NOT_APPLICABLE, LayerSummary, ModelSummary
from fulmen.utilities.model_summary.table import get_human_readable_count


def deepspeed_param_size(p: nn.Parameter) -> int:
    """The number of elements of a whole parameter, of which a process holds a shard.

    Args:
        p: A parameter; DeepSpeed keeps the number in ``ds_numel``.
    """
    whole = getattr(p, "ds_numel", None)
    return p.numel() if whole is None else int(whole)


class DeepSpeedLayerSummary(LayerSummary):
    """What there is to say about a layer in shards."""

    @property
    def num_parameters(self) -> int:
        """The number of parameters over all processes."""
        return sum(deepspeed_param_size(p) for p in self._module.parameters() if not is_lazy(p))

    @property
    def average_shard_parameters(self) -> int:
        """The number of parameters that each process holds."""

        def shard(p: Any) -> int:
            return int(p.partition_numel()) if hasattr(p, "partition_numel") else p.numel()

        return sum(shard(p) for p in self._module.parameters() if not is_lazy(p))


class DeepSpeedSummary(ModelSummary):
    """What there is to say about a model in shards; the table has a column with the share of each process."""

    def _summarize_layer(self, module: nn.Module) -> LayerSummary:
        return DeepSpeedLayerSummary(module)

    def _numel(self, parameter: nn.Parameter) -> int:
        return deepspeed_param_size(parameter)

    @property
    def parameters_per_layer(self) -> list[int]:
        """The number of parameters of each layer that each process holds."""
        layers = self._layer_summary.values()
        return [layer.average_shard_parameters for layer in layers if isinstance(layer, DeepSpeedLayerSummary)]

    def _get_summary_data(self) -> list[tuple[str, list[str]]]:
        columns = super()._get_summary_data()
        shares = [get_human_readable_count(count) for count in self.parameters_per_layer]
        shares += [NOT_APPLICABLE] * (len(columns[0][1]) - len(shares))
        place = next(index for index, (header, _) in enumerate(columns) if header == "Params") + 1
        return [*columns[:place], ("Params per Device", shares), *columns[place:]]
