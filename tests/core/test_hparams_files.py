from __future__ import annotations

import argparse
import dataclasses
import enum
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fulmen.core.saving import (
    convert,
    load_hparams_from_tags_csv,
    load_hparams_from_yaml,
    save_hparams_to_tags_csv,
    save_hparams_to_yaml,
    update_hparams,
)
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.parsing import AttributeDict

text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]))
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text
plain = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(text, inner), max_leaves=8
)


@given(st.dictionaries(text, plain, min_size=1))
def test_yaml_gives_plain_values_back(hparams: dict[str, Any]) -> None:
    save_hparams_to_yaml("hparams.yaml", hparams)
    assert load_hparams_from_yaml("hparams.yaml", use_omegaconf=False) == hparams


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Config:
    x: int = 1


def test_yaml_of_other_values_is_for_reading() -> None:
    shared = [1]
    hparams = argparse.Namespace(
        mode=Colour.RED, path=Path("a/b"), step=np.float32(0.5), act=torch.nn.functional.relu, conf=Config(),
        dtype=torch.float32,
        rest=AttributeDict(n=argparse.Namespace(z=1)), one=shared, two=shared, inf=math.inf, odd={3},
    )  # fmt: skip
    save_hparams_to_yaml("hparams.yaml", hparams)
    assert load_hparams_from_yaml("hparams.yaml", use_omegaconf=False) == {
        "mode": "RED", "path": str(Path("a/b")), "step": 0.5, "act": "torch.nn.functional.relu", "conf": {"x": 1},
        "dtype": "torch.float32", "rest": {"n": {"z": 1}}, "one": [1], "two": [1], "inf": math.inf, "odd": {3},
    }  # fmt: skip


def test_yaml_builds_no_objects(tmp_path: Path) -> None:
    path = tmp_path / "hparams.yaml"
    path.write_text("a: !!python/object/apply:os.mkdir [broken_in]")
    with pytest.raises(MisconfigurationException, match="Write the value as text"):
        load_hparams_from_yaml(path)
    assert not Path("broken_in").exists()


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)


@given(st.dictionaries(st.text("abc_", min_size=1), st.lists(scalars) | st.dictionaries(st.text("xyz"), scalars)))
def test_csv_gives_literals_back(hparams: dict[str, Any]) -> None:
    save_hparams_to_tags_csv("tags.csv", hparams)
    assert load_hparams_from_tags_csv("tags.csv") == hparams


@pytest.mark.parametrize("load", [load_hparams_from_yaml, load_hparams_from_tags_csv])
def test_a_missing_file_is_empty_with_a_warning(load: Any) -> None:
    with pytest.warns(UserWarning, match="There is no file `nowhere`"):
        assert load("nowhere") == {}


@pytest.mark.parametrize("save", [save_hparams_to_yaml, save_hparams_to_tags_csv])
def test_the_folder_must_exist_and_values_have_names(save: Any) -> None:
    with pytest.raises(RuntimeError, match=r"os.makedirs\('nowhere'\)"):
        save("nowhere/file", {})
    with pytest.raises(TypeError, match="Pass a dictionary"):
        save("file", [1])


@pytest.mark.parametrize("value", [1, 0.5, None, True, [1, "a"], {"a": (1, 2)}])
def test_convert_reads_literals(value: Any) -> None:
    assert convert(str(value)) == value
    assert convert("not (a literal") == "not (a literal"


def test_update_goes_into_nested_dictionaries() -> None:
    hparams = {"a": {"x": 1}, "b": 2}
    update_hparams(hparams, {"a": {"y": 2}, "b": {"z": 1}, "c": {"r": 1}})
    assert hparams == {"a": {"x": 1, "y": 2}, "b": {"z": 1}, "c": {"r": 1}}


def test_omegaconf_keeps_its_interpolations() -> None:
    omegaconf = pytest.importorskip("omegaconf", reason="an optional package")
    config = omegaconf.OmegaConf.create({"a": 1, "b": "${a}"})
    save_hparams_to_yaml("hparams.yaml", config)
    assert "${a}" in Path("hparams.yaml").read_text()
    assert load_hparams_from_yaml("hparams.yaml") == config
