from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings

import pytest

from fulmen.utilities import rank_zero
from fulmen.utilities.rank_zero import (
    rank_zero_debug,
    rank_zero_deprecation,
    rank_zero_info,
    rank_zero_only,
    rank_zero_warn,
    warn_once,
)


@pytest.fixture(autouse=True)
def _no_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(rank_zero_only, "rank", raising=False)
    for name in rank_zero._RANK_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@rank_zero_only
def double(number: int) -> int:
    """Doubles."""
    return 2 * number


def test_it_runs_where_nobody_says_anything_of_ranks() -> None:
    assert double(2) == 4
    assert double.__name__ == "double"


@pytest.mark.parametrize("variable", rank_zero._RANK_VARIABLES)
def test_launchers_say_the_rank(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "1")
    assert double(2) is None
    monkeypatch.setenv(variable, "0")
    assert double(2) == 4
    monkeypatch.setenv(variable, "none")
    assert double(2) == 4


@pytest.mark.parametrize("variable", ["NODE_RANK", "GROUP_RANK"])
def test_the_second_machine_has_no_first_rank(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv(variable, "1")
    assert double(2) is None
    monkeypatch.setenv("RANK", "0")
    assert double(2) == 4


def test_a_strategy_knows_better(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setattr(rank_zero_only, "rank", 0, raising=False)
    assert double(2) == 4
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert double(2) is None


def test_what_the_others_get(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1, raising=False)
    assert rank_zero_only(lambda: 1, default=5)() == 5


def test_warnings_name_the_callers_line() -> None:
    def user() -> None:
        rank_zero_warn("careful", category=RuntimeWarning, stacklevel=3)

    with pytest.warns(RuntimeWarning, match="careful") as caught:
        user()
    assert caught[0].filename == __file__


def test_one_sentence_is_said_once() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for text in ("a", "a", "b", "a"):
            warn_once(text)
    assert [str(warning.message) for warning in caught] == ["a", "b"]


def test_deprecations() -> None:
    with pytest.warns(DeprecationWarning, match="gone soon"):
        rank_zero_deprecation("gone soon")


def test_logs(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.DEBUG, "fulmen")
    rank_zero_info("said %s", "aloud")
    rank_zero_debug("whispered")
    monkeypatch.setattr(rank_zero_only, "rank", 1, raising=False)
    rank_zero_info("not heard")
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", "said aloud"),
        ("DEBUG", "whispered"),
    ]


@pytest.mark.parametrize(("setup", "shown"), [("", "hello\n"), ("logging.basicConfig();", "INFO:fulmen:hello\n")])
def test_what_is_said_is_seen_once(setup: str, shown: str) -> None:
    code = f"import logging; {setup} from fulmen.utilities.rank_zero import rank_zero_info; rank_zero_info('hello')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "RANK": "0"}
    )
    assert done.stderr == shown
