from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn

from fulmen import LightningModule
from fulmen.utilities.model_summary import model_summary
from fulmen.utilities.model_summary.model_summary import LayerSummary, ModelSummary, parse_batch_shape, summarize

from .models import Lazy, Nested, Sequence, Shared


def test_a_models_own_layers() -> None:
    summary = summarize(Nested())
    assert summary.layer_names == ["first", "rest", "unused"]
    assert summary.layer_types == ["Linear", "Sequential", "Dropout"]
    assert summary.param_nums == [16, 55, 0]
    assert summary.training_modes == [True, True, True]
    assert (summary.total_parameters, summary.trainable_parameters, summary.total_layer_params) == (78, 53, 71)
    assert summary.in_sizes == summary.out_sizes == ["?", "?", "?"]
    assert summary.total_flops == 0
    assert summary.flop_counts == {"first": {}, "rest": {}, "unused": {}}


@pytest.mark.parametrize(
    ("depth", "names"),
    [
        (0, []),
        (1, ["first", "rest", "unused"]),
        (2, ["first", "rest", "rest.0", "rest.1", "unused"]),
        (3, ["first", "rest", "rest.0", "rest.1", "rest.1.0", "rest.1.1", "unused"]),
        (-1, ["first", "rest", "rest.0", "rest.1", "rest.1.0", "rest.1.1", "unused"]),
    ],
)
def test_depth(depth: int, names: list[str]) -> None:
    summary = summarize(Nested(), max_depth=depth)
    assert [name for name, _ in summary.named_modules] == summary.layer_names == names
    assert "other params" in str(summary)
    assert f"\n{'7' if depth else '78'}  " in str(summary).replace("other params | n/a        | ", "\n").replace(
        "other params | n/a  | ", "\n"
    )


@pytest.mark.parametrize("depth", [-2, 1.5, "all", None])
def test_no_other_depth(depth: Any) -> None:
    with pytest.raises(ValueError, match="-1 for all of them"):
        summarize(Nested(), max_depth=depth)


def test_sizes_and_operations_of_one_forward_pass() -> None:
    summary = summarize(Nested(torch.zeros(2, 3)), max_depth=-1)
    assert summary.in_sizes == [[2, 3], [2, 4], [2, 4], [2, 5], [2, 5], [2, 5], "?"]
    assert summary.out_sizes == [[2, 4], [2, 6], [2, 5], [2, 6], [2, 5], [2, 6], "?"]
    # Two for each weight and sample: a product and a sum.
    assert [sum(counts.values()) for counts in summary.flop_counts.values()] == [48, 200, 80, 120, 0, 120, 0]
    assert summary.total_flops == 248


@pytest.mark.parametrize(
    "example",
    [
        (torch.zeros(5, 2, 3), torch.zeros(1)),
        [torch.zeros(5, 2, 3)],
        {"x": torch.zeros(5, 2, 3), "y": None},
        torch.zeros(5, 2, 3),
    ],
    ids=["tuple", "list", "mapping", "tensor"],
)
def test_the_example_may_be_arguments_of_any_kind(example: Any) -> None:
    summary = summarize(Sequence(example))
    assert summary.in_sizes == [[5, 2, 3], [[5, 2, 4], [5, 2, 4]]]
    assert summary.out_sizes == [[[5, 2, 4], [[1, 2, 4], [1, 2, 4]]], [5, 2, 1]]


def test_the_table() -> None:
    assert str(summarize(Nested(torch.zeros(2, 3)))).splitlines()[:7] == [
        "  | Name         | Type       | Params | Mode  | FLOPs | In sizes | Out sizes",
        "-----------------------------------------------------------------------------------",
        "0 | first        | Linear     | 16     | train | 48    | [2, 3]   | [2, 4]   ",
        "1 | rest         | Sequential | 55     | train | 200   | [2, 4]   | [2, 6]   ",
        "2 | unused       | Dropout    | 0      | train | 0     | ?        | ?        ",
        "  | other params | n/a        | 7      | n/a   | n/a   | n/a      | n/a      ",
        "-----------------------------------------------------------------------------------",
    ]


def test_a_summary_shows_itself() -> None:
    summary = summarize(Nested())
    assert repr(summary) == str(summary)


def test_an_empty_model() -> None:
    assert str(summarize(LightningModule())).startswith("  | Name | Type | Params | Mode | FLOPs\n---")


def test_a_shared_parameter_counts_once() -> None:
    summary = summarize(Shared())
    assert summary.layer_names == ["a", "tied"]
    assert summary.param_nums == [12, 12]
    assert summary.total_parameters == 15
    assert "other params" not in str(summary)


def test_a_parameter_without_a_shape_counts_as_none() -> None:
    with pytest.warns(UserWarning, match="Set `self.example_input_array`"):
        summary = summarize(Lazy())
    assert summary.param_nums == [0, 0]
    assert summary.model_size == 0


def test_the_example_gives_lazy_parameters_their_shape() -> None:
    model = Lazy(torch.zeros(2, 3))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Lazy modules are a new feature")
        summary = summarize(model)
    assert summary.param_nums == [16, 8]
    assert summary.layer_types == ["Linear", "BatchNorm1d"]


def test_modes() -> None:
    model = Nested()
    model.rest.eval()
    summary = summarize(model)
    assert summary.training_modes == [True, False, True]
    assert summary.total_training_modes == {"train": 2, "eval": 5}


def test_each_parameter_has_its_own_size() -> None:
    model = Nested().double()
    model.own.data = model.own.data.half()
    assert summarize(model).model_size == pytest.approx((71 * 8 + 7 * 2) / 1e6)


def test_a_broken_example_leaves_no_hooks() -> None:
    model = Nested(torch.zeros(2, 5))
    model.unused.eval()
    with pytest.raises(RuntimeError, match="shapes"):
        ModelSummary(model)
    assert not any(module._forward_hooks for module in model.modules())
    assert model.training
    assert not model.unused.training


def test_a_layer_is_seen_once() -> None:
    layer = nn.Linear(2, 3)
    summary = LayerSummary(layer)
    assert (summary.in_size, summary.out_size) == ("?", "?")
    for size in (4, 5):
        layer(torch.zeros(size, 2))
    assert (summary.in_size, summary.out_size) == ([4, 2], [4, 3])
    assert (summary.layer_type, summary.num_parameters, summary.training) == ("Linear", 9, True)
    summary.detach_hook()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_layer_keeps_its_sizes_to_itself() -> None:
    model = Nested(torch.zeros(2, 3))
    model.first = torch.jit.script(model.first)  # type: ignore[assignment]
    summary = summarize(model)
    assert summary.in_sizes == ["?", [2, 4], "?"]
    assert summary.param_nums == [16, 55, 0]


@pytest.mark.parametrize(
    ("batch", "shape"),
    [
        (torch.zeros(3, 2), [3, 2]),
        (torch.zeros(()), []),
        ([torch.zeros(1), (torch.zeros(2), None)], [[1], [[2], "?"]]),
        ({"a": torch.zeros(2)}, "?"),
        ("text", "?"),
    ],
)
def test_shapes(batch: Any, shape: Any) -> None:
    assert parse_batch_shape(batch) == shape


def test_what_people_import_from_here() -> None:
    assert model_summary.get_human_readable_count(1000) == "1.0 K"
    assert model_summary.get_formatted_model_size(1.0) == "1.000"
