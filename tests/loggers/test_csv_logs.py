from __future__ import annotations

import copy
import csv
import math
import os
import pickle
import shutil
import signal
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fulmen.loggers import csv_logs
from fulmen.loggers.csv_logs import CSVLogger
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.rank_zero import rank_zero_only

names = st.sampled_from(["loss", "acc", "epoch", "step", "a b", 'quote"d', "com,ma", "é"])
rows = st.lists(st.tuples(st.dictionaries(names, st.floats(allow_nan=False), max_size=4), st.integers(0, 99)))


def metrics_file(logger: CSVLogger) -> Path:
    return Path(logger.log_dir, "metrics.csv")


def read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        return list(reader.fieldnames or ()), list(reader)


def column(logger: CSVLogger, name: str) -> list[str]:
    return [row[name] for row in read(metrics_file(logger))[1]]


@given(logged=rows, saved=st.sets(st.integers(0, 20)), reopened=st.sets(st.integers(0, 20)))
def test_the_file_holds_every_row_under_sorted_columns(
    tmp_path_factory: pytest.TempPathFactory,
    logged: list[tuple[dict[str, float], int]],
    saved: set[int],
    reopened: set[int],
) -> None:
    logger = CSVLogger(tmp_path_factory.mktemp("logs"))
    for number, (metrics, step) in enumerate(logged):
        logger.log_metrics(metrics, step)
        if number in saved:
            logger.save()
        if number in reopened:
            logger.finalize("success")
    logger.finalize("success")
    expected = [{**metrics, "step": step} for metrics, step in logged]
    if not logged:
        assert not Path(logger.log_dir).exists()
        return
    columns, found = read(metrics_file(logger))
    assert columns == sorted({name for row in expected for name in row})
    assert [{name: float(text) for name, text in row.items() if text} for row in found] == expected


def test_values_are_written_as_they_are(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    logger.log_metrics({"a": torch.tensor(0.25), "b": torch.ones(1, 1), "c": True, "d": "text", "e": None}, 7)
    logger.log_metrics({"a": math.nan, "b": math.inf, "c": torch.tensor(3)}, torch.tensor(8))  # type: ignore[arg-type]
    logger.save()
    assert metrics_file(logger).read_bytes() == b"a,b,c,d,e,step\r\n0.25,1.0,True,text,,7\r\nnan,inf,3,,,8\r\n"


def test_a_row_without_a_step_is_counted(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    for _ in range(3):
        logger.log_metrics({"a": 1.0})
        logger.save()
    assert column(logger, "step") == ["0", "1", "2"]


def test_a_save_writes_the_new_rows_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = CSVLogger(tmp_path)
    logger.log_metrics({"a": 1.0, "b": 2.0}, 0)
    logger.save()
    written: list[bytes] = []
    write = os.write
    monkeypatch.setattr(csv_logs.os, "write", lambda file, data: written.append(data) or write(file, data))
    monkeypatch.setattr(csv_logs.os, "replace", lambda *_: pytest.fail("the file was rewritten"))
    for step in range(1, 50):
        logger.log_metrics({"b": 0.5} if step % 2 else {"a": 0.5}, step)
        logger.save()
        logger.save()
    expected = [f",0.5,{step}\r\n" if step % 2 else f"0.5,,{step}\r\n" for step in range(1, 50)]
    assert [data.decode() for data in written] == expected


def test_rows_wait_for_the_interval_where_nobody_saves(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, flush_logs_every_n_steps=10)
    for step in (0, 4, 8):
        logger.log_metrics({"a": 1.0}, step)
    assert not metrics_file(logger).exists()
    logger.log_metrics({"a": 1.0}, 9)
    assert column(logger, "step") == ["0", "4", "8", "9"]
    for step in (15, 18):
        logger.log_metrics({"a": 1.0}, step)
    assert len(column(logger, "step")) == 4
    logger.log_metrics({"a": 1.0}, 30)
    assert len(column(logger, "step")) == 7, "an interval counts, even where no step falls on its end"


def test_an_interval_of_one_step_writes_each_row(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, flush_logs_every_n_steps=1)
    for count, step in enumerate((5, 5, 2), start=1):
        logger.log_metrics({"a": 1.0}, step)
        assert len(column(logger, "step")) == count
    with pytest.raises(MisconfigurationException, match="Pass 1"):
        CSVLogger(tmp_path, flush_logs_every_n_steps=0)


def test_a_failed_widening_leaves_the_file_and_keeps_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = CSVLogger(tmp_path)
    logger.log_metrics({"a": 1.0}, 0)
    logger.save()
    before = metrics_file(logger).read_bytes()

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    logger.log_metrics({"b": 2.0}, 1)
    with monkeypatch.context() as patched:
        patched.setattr(csv_logs.os, "replace", fail)
        with pytest.raises(OSError, match="disk full"):
            logger.save()
    assert metrics_file(logger).read_bytes() == before
    assert os.listdir(logger.log_dir) == ["metrics.csv"]
    logger.save()
    assert metrics_file(logger).read_bytes() == b"a,b,step\r\n1.0,,0\r\n,2.0,1\r\n"


def test_a_full_disk_leaves_no_half_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = CSVLogger(tmp_path)
    logger.log_metrics({"a": 1.0}, 0)
    logger.save()
    before = metrics_file(logger).read_bytes()
    write = os.write
    room = [b"", b"12345"]

    def nearly_full(file: int, data: bytes) -> int:
        part = room.pop()
        if not part:
            raise OSError("disk full")
        return write(file, part)

    logger.log_metrics({"a": 123456.0}, 1)
    with monkeypatch.context() as patched:
        patched.setattr(csv_logs.os, "write", nearly_full)
        with pytest.raises(OSError, match="disk full"):
            logger.save()
    assert metrics_file(logger).read_bytes() == before
    logger.save()
    assert column(logger, "a") == ["1.0", "123456.0"]


def test_a_killed_run_keeps_every_saved_row(tmp_path: Path) -> None:
    code = f"""
import itertools
from fulmen.loggers.csv_logs import CSVLogger
logger = CSVLogger({str(tmp_path)!r})
for step in itertools.count():
    logger.log_metrics({{"a": 0.5, f"column_{{step // 50}}": 1.0}}, step)
    logger.save()
    print(step, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 400:
                break
        process.send_signal(signal.SIGKILL)
        told = [line, *process.stdout]
    saved = int(told[-1]) if told[-1].strip().isdigit() else int(told[-2])
    _, found = read(tmp_path / "lightning_logs" / "version_0" / "metrics.csv")
    steps = [int(row["step"]) for row in found]
    assert steps == list(range(len(steps)))
    assert steps[-1] >= saved
    assert all(row["a"] == "0.5" and row[f"column_{int(row['step']) // 50}"] == "1.0" for row in found)


@pytest.mark.skipif(os.name == "nt", reason="Windows does not delete open files")
def test_a_folder_that_was_deleted_is_made_again(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    logger.log_metrics({"a": 1.0}, 0)
    logger.save()
    logger.log_metrics({"a": 2.0}, 1)
    logger.save()
    shutil.rmtree(tmp_path / "lightning_logs")
    logger.log_metrics({"a": 3.0}, 2)
    logger.save()
    assert column(logger, "a") == ["3.0"]


def test_the_metrics_of_an_earlier_run_are_kept(tmp_path: Path) -> None:
    for value in (1.0, 2.0, 3.0):
        logger = CSVLogger(tmp_path, version=0)
        if value == 1.0:
            logger.log_metrics({"a": value}, 0)
        else:
            with pytest.warns(UserWarning, match="Leave out `version`"):
                logger.log_metrics({"a": value}, 0)
        logger.finalize("success")
    assert sorted(os.listdir(logger.log_dir)) == ["metrics.csv", "metrics_1.csv", "metrics_2.csv"]
    assert column(logger, "a") == ["3.0"]
    assert read(Path(logger.log_dir, "metrics_1.csv"))[1] == [{"a": "1.0", "step": "0"}]


def test_hyper_parameters_are_written_at_once_and_added_up(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    path = Path(logger.log_dir, "hparams.yaml")
    logger.log_hyperparams(Namespace(lr=0.1))
    assert path.read_text() == "lr: 0.1\n"
    logger.log_hyperparams({"lr": 0.2, "width": 8})
    logger.log_hyperparams(None)
    assert yaml.safe_load(path.read_text()) == {"lr": 0.2, "width": 8}
    with pytest.raises(MisconfigurationException, match=r"vars\(config\)"):
        logger.log_hyperparams("lr=0.1")


def test_a_prefix_stands_before_each_name(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, prefix="fold1")
    logger.log_metrics({"a": 1.0}, 0)
    logger.save()
    assert read(metrics_file(logger))[0] == ["fold1-a", "step"]


@pytest.mark.parametrize(
    ("metrics", "remedy"),
    [({"a": torch.ones(2)}, "Log `value.mean"), ({3: 1.0}, 'Log it as `"3"`'), ([1.0], r"log_metrics\(\{")],
)
def test_a_wrong_metric_is_refused_and_leaves_nothing_behind(tmp_path: Path, metrics: Any, remedy: str) -> None:
    logger = CSVLogger(tmp_path)
    with pytest.raises(MisconfigurationException, match=remedy):
        logger.log_metrics(metrics, 0)
    logger.log_metrics({"a": 1.0}, 1)
    logger.save()
    assert column(logger, "step") == ["1"]


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda logger: pickle.loads(pickle.dumps(logger))])
def test_a_copy_goes_on_with_the_same_file(tmp_path: Path, clone: Any) -> None:
    logger = clone(CSVLogger(tmp_path))
    logger.log_metrics({"a": 1.0}, 0)
    logger.save()
    logger.log_metrics({"b": 2.0}, 1)
    other = clone(logger)
    other.log_metrics({"c": 3.0})
    other.save()
    logger.save()
    assert column(logger, "step") == ["0", "2", "1"]
    assert read(metrics_file(logger))[0] == ["a", "b", "c", "step"]


def test_other_ranks_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1, raising=False)
    logger = CSVLogger(tmp_path)
    logger.log_hyperparams({"a": 1})
    logger.log_metrics({"a": 1.0}, 0)
    logger.save()
    logger.finalize("success")
    assert list(tmp_path.iterdir()) == []


def far(name: str) -> str:
    """What lies at an address of fsspec's memory."""
    import fsspec

    content: bytes = fsspec.filesystem("memory").cat_file(name)
    return content.decode()


@given(logged=rows, begun=st.booleans())
def test_a_file_at_an_address_is_the_one_that_a_local_logger_writes(
    tmp_path_factory: pytest.TempPathFactory, logged: list[tuple[dict[str, float], int]], begun: bool
) -> None:
    local = tmp_path_factory.mktemp("logs")
    address = f"memory://{local.name}/{os.urandom(4).hex()}"
    for logger in (CSVLogger(local), CSVLogger(address)):
        if begun:
            logger._background.begin()
        logger.log_hyperparams({"lr": 0.1})
        for metrics, step in logged:
            logger.log_metrics(metrics, step)
        logger.finalize("success")
    for name in ("metrics.csv", "hparams.yaml"):
        path = local / "lightning_logs" / "version_0" / name
        if path.exists():
            assert far(f"{address}/lightning_logs/version_0/{name}") == path.read_bytes().decode()


def test_versions_at_an_address_are_counted_and_kept() -> None:
    address = f"memory://runs{os.urandom(4).hex()}/"
    for expected in range(3):
        logger = CSVLogger(address, name="n")
        assert logger.log_dir == f"{address}n/version_{expected}"
        logger.log_metrics({"a": expected}, 0)
        logger.save()
    again = CSVLogger(address, name="n", version=1)
    with pytest.warns(UserWarning, match=r"kept as metrics_1.csv"):
        again.log_metrics({"a": 9}, 0)
    again.save()
    assert far(f"{address}n/version_1/metrics_1.csv").split() == ["a,step", "1,0"]
    assert far(f"{address}n/version_1/metrics.csv").split() == ["a,step", "9,0"]
    again.log_text("note", "x", step=3)
    assert far(f"{address}n/version_1/media/note/step_00000003.md") == "x"


def test_another_kind_of_file_system(tmp_path: Path) -> None:
    """``local://`` goes the way of addresses, to real files."""
    logger = CSVLogger(f"local://{tmp_path}")
    logger._background.begin()
    for step in range(5):
        logger.log_metrics({"a": step, f"b{step // 3}": 1.0}, step)
    logger.finalize("success")
    assert read(tmp_path / "lightning_logs" / "version_0" / "metrics.csv")[0] == ["a", "b0", "b1", "step"]


def test_a_connection_that_comes_back_loses_and_doubles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    from fulmen.loggers import work

    monkeypatch.setattr(work, "FIRST_PAUSE", 0.001)
    address = f"memory://broken{os.urandom(4).hex()}"
    kind = type(fsspec.filesystem("memory"))
    pipe, errors = kind.pipe_file, [ConnectionResetError("reset"), TimeoutError("late")] * 2

    def broken(self: Any, path: str, value: bytes, **options: Any) -> None:
        if errors and len(errors) % 2 == 0:
            raise errors.pop()
        if errors:
            errors.pop()
        pipe(self, path, value, **options)

    monkeypatch.setattr(kind, "pipe_file", broken)
    logger = CSVLogger(address)
    logger._background.begin()
    for step in range(4):
        logger.log_metrics({"a": step}, step)
        logger._background.drain()
    logger.finalize("success")
    assert far(f"{address}/lightning_logs/version_0/metrics.csv").split() == ["a,step", "0,0", "1,1", "2,2", "3,3"]


def test_an_address_that_refuses_is_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("read only")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "pipe_file", refuse)
    logger = CSVLogger(f"memory://refusing{os.urandom(4).hex()}")
    logger._background.begin()
    logger.log_metrics({"a": 1.0}, 0)
    with pytest.warns(UserWarning, match=r"CSVLogger \(memory://refusing.*PermissionError: read only\n1 record"):
        logger.finalize("success")
