"""Small things of Lightning's utilities, and the flags that say what is installed."""

from __future__ import annotations

import io
import warnings
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from torch import nn

from fulmen.compat import flags, odds


def test_tensors_and_scalars() -> None:
    nest = {"a": torch.tensor(1.5), "b": [torch.tensor([2]), 3]}
    assert odds.convert_tensors_to_scalars(nest) == {"a": 1.5, "b": [2, 3]}
    with pytest.raises(ValueError, match="single element"):
        odds.convert_tensors_to_scalars(torch.ones(2))
    made = odds.convert_to_tensors({"a": 1.5, "b": torch.ones(2).numpy()}, "cpu")
    assert made["a"].item() == 1.5 and made["b"].tolist() == [1.0, 1.0]


def test_a_warning_is_said_once() -> None:
    cache = odds.WarningCache()
    with pytest.warns(UserWarning, match="twice") as seen:
        cache.warn("said twice")
        cache.warn("said twice")
    assert len(seen) == 1 and "said twice" in cache
    with pytest.warns(DeprecationWarning):
        cache.deprecation("old")
    cache.info("told")
    assert odds.rank_prefixed_message("text", 2) == "[rank: 2] text"


def test_parameters_are_found_in_signatures() -> None:
    def hook(self: object, batch: object, dataloader_idx: int = 0) -> None: ...
    def anything(*args: object) -> None: ...

    assert odds.is_param_in_hook_signature(hook, "dataloader_idx")
    assert not odds.is_param_in_hook_signature(hook, "other")
    assert odds.is_param_in_hook_signature(hook, "other", min_args=2)
    assert odds.is_param_in_hook_signature(anything, "other")
    assert not odds.is_param_in_hook_signature(anything, "other", explicit=True)


def test_values_that_are_not_finite() -> None:
    odds.check_finite_loss(None)
    with pytest.raises(ValueError, match="nan"):
        odds.check_finite_loss(torch.tensor(float("nan")))
    module = nn.Linear(2, 1)
    odds.detect_nan_parameters(module)
    module.weight.data[0, 0] = torch.inf
    with pytest.raises(ValueError, match="`weight`"):
        odds.detect_nan_parameters(module)


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    odds.atomic_save({"a": torch.ones(1)}, tmp_path / "a.ckpt")
    assert torch.load(tmp_path / "a.ckpt")["a"].item() == 1 and [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]
    memory = io.BytesIO()
    odds.atomic_save({"a": 1}, memory)
    assert torch.load(io.BytesIO(memory.getvalue())) == {"a": 1}
    assert odds.get_model_size_mb(nn.Linear(500, 500)) == pytest.approx(1.0, abs=0.1)


def test_dictionaries() -> None:
    assert odds._flatten_dict({"a": {"b": 1}, "c": Namespace(d=2)}) == {"a/b": 1, "c/d": 2}
    assert odds._add_prefix({"a": 1}, "p", "-") == {"p-a": 1} and odds._add_prefix({"a": 1}, "", "-") == {"a": 1}


def test_this_process_is_alone() -> None:
    value = torch.ones(2)
    assert odds.gather_all_tensors(value) == [value] and not odds.is_wrapped(value)
    module = nn.Linear(1, 1)
    assert odds.unwrap_lightning_module(module) is module
    assert odds.unwrap_lightning_module(nn.DataParallel(module)) is module
    assert odds._parse_gpu_ids(None) is None and odds._determine_root_gpu_device([2, 1]) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    {
        "_TORCH_GREATER_EQUAL_1_8": True,
        "_TORCH_GREATER_EQUAL_99_0": False,
        "_TORCH_LESS_THAN_2_0": False,
        "_TORCH_LOWER_EQUAL_1_4": False,
        "_PYTHON_GREATER_EQUAL_3_8_0": True,
        "_TORCH_EQUAL_2_0": False,
        "_NUMPY_AVAILABLE": True,
        "_APEX_AVAILABLE": False,
        "_NO_SUCH_PACKAGE_AVAILABLE": False,
        "_NO_SUCH_PACKAGE_GREATER_EQUAL_1_0": False,
    }.items(),
)
def test_flags(name: str, value: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert getattr(flags, name) is value


def test_what_is_no_flag() -> None:
    assert flags._IS_WINDOWS is False
    with pytest.raises(AttributeError, match="no attribute 'anything'"):
        _ = flags.anything
