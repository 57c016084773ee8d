from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fulmen.loggers
from fulmen.loggers.logger import DummyLogger, Logger, merge_dicts, rank_zero_experiment
from fulmen.utilities.rank_zero import rank_zero_only


class Memory(Logger):
    name = "memory"
    version = 3

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Any] = []
        self.saves = 0

    @property
    @rank_zero_experiment
    def experiment(self) -> list[Any]:
        return self.rows

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.experiment.append((step, metrics))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.experiment.append(params)

    def save(self) -> None:
        self.saves += 1


def test_the_package_names_what_people_import() -> None:
    assert fulmen.loggers.Logger is Logger
    files, services = {"CSVLogger", "TensorBoardLogger"}, {"CometLogger", "MLFlowLogger", "WandbLogger"}
    assert set(dir(fulmen.loggers)) == {"DummyLogger", "Logger", *files, *services}


def test_a_logger_needs_only_a_name_a_version_and_two_methods() -> None:
    logger = Memory()
    assert (logger.root_dir, logger.log_dir, logger.save_dir, logger.group_separator) == (None, None, None, "/")
    logger.log_graph(None)  # type: ignore[arg-type]
    logger.after_save_checkpoint(None)  # type: ignore[arg-type]
    logger.finalize("success")
    assert logger.saves == 1
    with pytest.raises(TypeError, match="log_metrics"):
        Logger()  # type: ignore[abstract]


def test_the_experiment_of_other_ranks_ignores_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = Memory()
    monkeypatch.setattr(rank_zero_only, "rank", 1, raising=False)
    assert logger.experiment.add_image("a", 1) is None  # type: ignore[attr-defined]
    logger.experiment[0] = 1
    assert logger.experiment[7].anything() is None
    logger.log_metrics({"a": 1.0}, 0)
    assert logger.rows == []
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    logger.log_metrics({"a": 1.0}, 0)
    assert logger.rows == [(0, {"a": 1.0})]


def test_the_dummy_takes_everything() -> None:
    logger = pickle.loads(pickle.dumps(copy.deepcopy(DummyLogger())))
    assert (logger.name, logger.version, logger.log_dir) == ("", "", None)
    assert logger.log_metrics({"a": 1}, step=1) is None
    assert logger.log_hyperparams({"a": 1}) is None
    assert logger.experiment.add_scalar("a", 1) is None
    assert logger.add_figure("a", None) is None
    assert logger[2].experiment.log(1) is None
    assert list(logger) == [logger]


def test_merged_values_are_made_by_the_key_s_function() -> None:
    merged = merge_dicts(
        [
            {"a": 1.7, "b": 2.0, "c": 1, "d": {"d1": 1, "d3": 3}},
            {"a": 1.1, "b": 2.2, "v": 1, "d": {"d1": 2, "d2": 3}},
            {"a": 1.1, "v": 2.3, "x": None, "d": {"d3": 3, "d4": {"d5": 1}}},
        ],
        agg_key_funcs={"a": min, "v": max, "d": {"d1": sum}},
    )
    assert merged == {"a": 1.1, "b": 2.1, "c": 1, "v": 2.3, "d": {"d1": 3, "d2": 3, "d3": 3, "d4": {"d5": 1}}}
    assert merge_dicts([]) == {}


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(-9, 9)), min_size=1))
def test_every_key_is_merged_once(dicts: list[dict[str, int]]) -> None:
    collected = merge_dicts(dicts, default_func=list)  # type: ignore[arg-type]
    assert collected.keys() == {key for mapping in dicts for key in mapping}
    for key, values in collected.items():
        assert values == [mapping[key] for mapping in dicts if key in mapping]
