from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fulmen.loggers import hparams_file
from fulmen.loggers.hparams_file import save_hparams_to_yaml, to_yaml

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    scalars | st.sets(st.integers() | st.text()),
    lambda inner: (
        st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
    ),
    max_leaves=10,
)


class Color(enum.IntEnum):
    RED = 1


@dataclasses.dataclass
class Config:
    width: int = 8
    inner: Any = None


@given(st.dictionaries(st.text(), values))
def test_plain_values_read_back_as_they_were(hparams: dict[str, Any]) -> None:
    assert yaml.full_load(to_yaml(hparams)) == hparams


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Color.RED, "RED"),
        (Path("data/train"), os.path.join("data", "train")),
        (np.float64(0.1), 0.1),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.ones((2, 2)), [[1.0, 1.0], [1.0, 1.0]]),
        (torch.tensor([1, 2]), [1, 2]),
        (torch.tensor(0.5), 0.5),
        (torch.Size((2, 3)), (2, 3)),
        (Config(3, Config()), {"width": 3, "inner": {"width": 8, "inner": None}}),
        (Namespace(a=1), {"a": 1}),
        (collections.OrderedDict(b=1, a=[2]), {"b": 1, "a": [2]}),
        (collections.deque([1]), [1]),
        (range(3), [0, 1, 2]),
        (torch.float32, "torch.float32"),
        (torch.device("cpu"), "cpu"),
        ({(1, 2): 3}, {"(1, 2)": 3}),
        (b"ab", "b'ab'"),
        (torch.nn.Linear, torch.nn.Linear),
        (os.path.join, os.path.join),
        (torch.relu, torch.relu),
    ],
    ids=str,
)
def test_other_values_have_a_plain_form(value: Any, expected: Any) -> None:
    assert yaml.full_load(to_yaml({"x": value})) == {"x": expected}


@pytest.mark.parametrize("value", [lambda: 1, functools.partial(print, 1), torch.nn.Linear(1, 1), torch.zeros(5000)])
def test_all_else_is_its_text(value: Any) -> None:
    assert yaml.safe_load(to_yaml({"x": value})) == {"x": str(value)}


def test_what_contains_itself_ends() -> None:
    loop: dict[str, Any] = {"a": [1]}
    loop["a"].append(loop)
    config = Config()
    config.inner = [config]
    for text in (to_yaml(loop), to_yaml({"x": config})):
        assert yaml.safe_load(text)


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "hparams.yaml")
    save_hparams_to_yaml(path, {"a": 1})

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(hparams_file.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_hparams_to_yaml(path, {"a": 2})
    assert Path(path).read_text() == "a: 1\n"
