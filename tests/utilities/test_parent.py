from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time

import pytest

from fulmen.utilities import parent


def test_who_runs() -> None:
    assert parent.is_running(os.getpid())
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read()
    while parent.is_running(process.pid):  # it has ended, and nobody has taken note of it
        time.sleep(0.01)
    assert process.returncode is None
    process.wait()
    process.stdout.close()
    assert not parent.is_running(process.pid)


def test_a_process_ends_with_the_one_it_follows(capfd: pytest.CaptureFixture[str]) -> None:
    def follower() -> None:
        parent.follow(lambda: True, grace=0.0)
        time.sleep(60)

    process = multiprocessing.get_context("fork").Process(target=follower)
    process.start()
    process.join(30)
    assert process.exitcode == 1
    assert capfd.readouterr().err == "The process that started this one is gone, so this one ends as well.\n"


@pytest.mark.parametrize("given", ["", "none", "self"])
def test_others_are_not_followed(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    """This process is not its own parent, but it runs."""
    monkeypatch.setenv(parent.VARIABLE, str(os.getpid()) if given == "self" else given)
    monkeypatch.setattr(parent, "follow", lambda *_: pytest.fail("a stranger"))
    parent.heed()
    assert parent.VARIABLE not in os.environ
