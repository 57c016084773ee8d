"""A plugin of pytest: seeds each test, runs a fixed sample of them, and writes down what came of each."""

from __future__ import annotations

import json
import random
import signal
import zlib
from pathlib import Path
from typing import Any

import pytest

LIMIT = 180  # seconds a test


def pytest_addoption(parser: Any) -> None:
    parser.addoption("--outcomes", help="the file for the outcomes")
    parser.addoption("--sample", type=json.loads, default={}, help="how many tests of each path, as JSON; 0 for all")


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    sample: dict[str, int] = config.getoption("sample")
    taken: set[Any] = set()
    for place, count in sample.items():
        below = [item for item in items if item.path.resolve().is_relative_to(Path(place).resolve())]
        below.sort(key=lambda item: zlib.crc32(item.nodeid.encode()))
        taken.update(below[:count] if count else below)
    if sample:
        config.hook.pytest_deselected(items=[item for item in items if item not in taken])
        items[:] = [item for item in items if item in taken]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: Any) -> Any:
    import numpy as np
    import torch

    def give_up(*_: Any) -> None:
        raise TimeoutError(f"longer than {LIMIT} s")

    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(LIMIT)
    try:
        return (yield)
    finally:
        signal.alarm(0)


class _Outcomes:
    def __init__(self, file: str) -> None:
        self.file = Path(file)
        self.seen: dict[str, dict[str, Any]] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        before = self.seen.get(report.nodeid)
        if before is None or report.outcome != "passed" or before["outcome"] == "passed":
            text = report.longreprtext.strip().splitlines() if report.failed else []
            found = {"outcome": report.outcome, "why": "\n".join(text[-4:])}
            if before is not None and before["outcome"] == "failed":
                found = before
            self.seen[report.nodeid] = {**found, "figures": dict(report.user_properties)}
        self.file.write_text(json.dumps(self.seen))

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.seen[report.nodeid] = {"outcome": "failed", "why": report.longreprtext[-600:], "figures": {}}
            self.file.write_text(json.dumps(self.seen))


def pytest_configure(config: Any) -> None:
    if config.getoption("outcomes"):
        config.pluginmanager.register(_Outcomes(config.getoption("outcomes")))
