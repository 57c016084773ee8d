from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulmen.loggers import run_folder
from fulmen.loggers.csv_logs import CSVLogger
from fulmen.loggers.run_folder import next_version, write_hparams
from fulmen.loggers.tensorboard import TensorBoardLogger
from fulmen.utilities.exceptions import MisconfigurationException


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        ([], 0),
        (["version_0", "version_1"], 2),
        (["version_0", "version_5"], 6),
        (["version_9", "version_10"], 11),
        (["version_a", "foo", "my_version_7", "version_-1", "version_1.5", "12"], 0),
        (["version_3", "version_2_b", "version_x"], 4),
        (["version_03"], 4),
    ],
)
def test_the_next_version_follows_the_highest(tmp_path: Path, folders: list[str], expected: int) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir()
    assert next_version(str(tmp_path)) == expected


def test_files_and_missing_folders_count_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "version_4").touch()
    assert next_version(str(tmp_path)) == 0
    assert next_version(str(tmp_path / "missing")) == 0
    assert next_version(str(tmp_path / "version_4")) == 0


@given(numbers=st.sets(st.integers(0, 200), max_size=5))
def test_no_version_is_given_twice(tmp_path_factory: pytest.TempPathFactory, numbers: set[int]) -> None:
    root = tmp_path_factory.mktemp("runs")
    for number in numbers:
        (root / f"version_{number}").mkdir()
    assert next_version(str(root)) not in numbers
    assert next_version(str(root)) > max(numbers, default=-1)


@pytest.mark.parametrize(
    ("arguments", "name", "folder"),
    [
        ({}, "lightning_logs", "lightning_logs/version_0"),
        ({"version": 3}, "lightning_logs", "lightning_logs/version_3"),
        ({"version": "best"}, "lightning_logs", "lightning_logs/best"),
        ({"name": None}, "", "version_0"),
        ({"name": "", "version": ""}, "", ""),
        ({"name": "a/b", "version": "c/d"}, "a/b", "a/b/c/d"),
    ],
)
def test_a_run_has_a_folder(tmp_path: Path, arguments: dict[str, Any], name: str, folder: str) -> None:
    logger = CSVLogger(tmp_path, **arguments)
    assert logger.name == name
    assert logger.save_dir == str(tmp_path)
    assert os.path.normpath(logger.root_dir) == os.path.normpath(tmp_path / name)
    assert os.path.normpath(logger.log_dir) == os.path.normpath(tmp_path / folder)
    assert not any(tmp_path.iterdir()), "nothing is made before something is logged"


def test_the_version_stays_once_it_was_asked(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    assert logger.version == 0
    (tmp_path / "lightning_logs" / "version_0").mkdir(parents=True)
    assert logger.version == 0
    assert CSVLogger(tmp_path).version == 1


def test_home_and_variables_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RUNS", "runs")
    (tmp_path / "runs" / "lightning_logs" / "version_4").mkdir(parents=True)
    logger = CSVLogger("~/$RUNS")
    assert logger.log_dir == str(tmp_path / "runs" / "lightning_logs" / "version_5")


def test_a_remote_address_is_no_folder() -> None:
    with pytest.raises(MisconfigurationException, match="Pass a local folder"):
        TensorBoardLogger("s3://bucket/logs")


def test_a_save_dir_is_a_path() -> None:
    with pytest.raises(MisconfigurationException, match=r'CSVLogger\("logs"\)'):
        CSVLogger(None)  # type: ignore[arg-type]


def test_a_failed_write_leaves_the_hyper_parameters_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run" / "hparams.yaml"
    write_hparams(str(path), {"a": 1})

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(run_folder.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_hparams(str(path), {"a": 2})
    assert path.read_text() == "a: 1\n"
