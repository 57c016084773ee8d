from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fulmen import LightningModule
from fulmen.utilities.model_summary.model_summary_deepspeed import DeepSpeedSummary, deepspeed_param_size


def _shard(parameter: nn.Parameter, parts: int) -> None:
    """Does to a parameter what DeepSpeed does: it leaves nothing of it but the numbers."""
    sharded: Any = parameter
    sharded.ds_numel = parameter.numel()
    sharded.partition_numel = lambda: sharded.ds_numel // parts
    sharded.data = torch.empty(0)


class Model(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.big = nn.Linear(100, 10)
        self.small = nn.Linear(4, 1)
        self.own = nn.Parameter(torch.zeros(6), requires_grad=False)
        for parameter in (*self.big.parameters(), self.own):
            _shard(parameter, parts=2)


def test_shards_count_as_the_whole() -> None:
    summary = DeepSpeedSummary(Model())
    assert summary.param_nums == [1010, 5]
    assert summary.parameters_per_layer == [505, 5]
    assert (summary.total_parameters, summary.trainable_parameters) == (1021, 1015)
    assert summary.model_size == 1021 * 4 / 1e6


def test_the_table_shows_the_share_of_each_process() -> None:
    header, _, big, small, other, *_ = str(DeepSpeedSummary(Model())).splitlines()
    assert [cell.strip() for cell in header.split("|")][3:5] == ["Params", "Params per Device"]
    assert [cell.strip() for cell in big.split("|")][3:5] == ["1.0 K", "505"]
    assert [cell.strip() for cell in small.split("|")][3:5] == ["5", "5"]
    assert [cell.strip() for cell in other.split("|")][3:5] == ["6", "n/a"]


def test_a_parameter_that_is_not_in_shards() -> None:
    assert deepspeed_param_size(nn.Parameter(torch.zeros(3))) == 3
