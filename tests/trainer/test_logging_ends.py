"""Programs that end while a slow logger still has something to write."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.conftest import SOAK

ROOT = Path(__file__).parents[2]
PROGRAM = """
import signal, sys, time, warnings
signal.signal(signal.SIGINT, signal.default_int_handler)
warnings.simplefilter("default")
import torch
from tests.runs import Net, data, fit
from tests.trainer.test_logging import Logging, Remote
from fulmen.callbacks.callback import Callback

class Steps(Callback):
    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        print("step", batch_idx, flush=True)
        time.sleep(0.05)

class Telling(Remote):
    def _send(self, records):
        count = len(records)
        super()._send(records)
        print("sent", count, flush=True)

    def finalize(self, status):
        print("finalize", flush=True)
        super().finalize(status)

fit(Logging(), data(10_000), logger=Telling({delay}, drain_timeout=60), log_every_n_steps=1, callbacks=[Steps()])
"""


def start(delay: float) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", PROGRAM.format(delay=delay)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def lines_until(process: subprocess.Popen[str], last: str) -> list[str]:
    found: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        found.append(line.strip())
        if found[-1] == last:
            break
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM] if SOAK else [signal.SIGTERM])
def test_a_run_that_is_asked_to_end_writes_what_it_logged(number: signal.Signals) -> None:
    process = start(delay=0.5)
    seen = lines_until(process, "step 5")
    process.send_signal(number)
    rest, errors = process.communicate(timeout=60)
    seen += rest.split("\n")
    assert process.returncode in ((-number, 128 + number)), errors
    steps = sum(line.startswith("step") for line in seen)
    assert sum(int(line.split()[1]) for line in seen if line.startswith("sent")) == steps
    assert "not written" not in errors


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_second_ctrl_c_ends_the_waiting_and_says_what_is_lost() -> None:
    process = start(delay=50)
    lines_until(process, "step 5")
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    lines_until(process, "finalize")
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=40)
    assert time.monotonic() - begun < 40, "it did not wait for the server"
    assert process.returncode in (-signal.SIGINT, 130), errors
    assert "Telling has not written" in errors
