"""Ctrl-C at a real prompt: a Python that talks to a terminal, and is typed to."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

pty = pytest.importorskip("pty")

PROGRAM = """
import time, warnings
import torch
import fulmen as pl

warnings.simplefilter("ignore")


class Net(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer, self.sleep = torch.nn.Linear(1, 1), 0.2

    def training_step(self, batch, batch_idx):
        print("in step", self.trainer.global_step, flush=True)
        time.sleep(self.sleep)
        print("out of step", self.trainer.global_step, flush=True)
        return self.layer(batch).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def trainer():
    return pl.Trainer(accelerator="cpu", logger=False, max_epochs=1, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[pl.callbacks.ModelCheckpoint("saved", "{step}")])


model, data, first, second = Net(), torch.utils.data.DataLoader(torch.ones(50, 1)), trainer(), trainer()
"""


class Terminal:
    """A Python at a prompt."""

    def __init__(self, program: Path) -> None:
        self.ours, theirs = pty.openpty()
        root = Path(__file__).parents[2]
        environment = {**os.environ, "PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1", "TERM": "dumb"}
        environment |= {"PYTHON_BASIC_REPL": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-q", "-i", str(program)], stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True, env=environment, preexec_fn=_take_terminal,
        )  # fmt: skip
        os.close(theirs)
        self.seen = ""

    def read_until(self, pattern: str) -> str:
        """What is shown up to and with something, and no longer there to be found."""
        end = time.monotonic() + 120
        while (match := re.search(pattern, self.seen, re.DOTALL)) is None:
            assert time.monotonic() < end, f"{pattern!r} is not in {self.seen!r}"
            try:
                self.seen += os.read(self.ours, 4096).decode()
            except OSError:
                raise AssertionError(f"{pattern!r} is not in {self.seen!r}, which was all") from None
        shown, self.seen = self.seen[: match.end()], self.seen[match.end() :]
        return shown

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())


def _take_terminal() -> None:
    import fcntl
    import signal
    import termios

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # tests that run in the background ignore it
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C becomes a signal


def test_ctrl_c_gives_the_prompt_back_and_a_second_one_at_once(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    terminal = Terminal(program)
    terminal.read_until(">>> ")
    terminal.type("first.fit(model, data)\n")
    terminal.read_until("in step 2")
    terminal.type("\x03")
    shown = terminal.read_until(">>> ")
    assert "out of step 2" in shown
    assert re.search(r"Ctrl-C: everything is saved to .*step=3\.ckpt", shown, re.DOTALL)
    assert "Traceback" not in shown
    terminal.type("first.interrupted, first.global_step, second.interrupted\n")
    terminal.read_until(re.escape("(True, 3, False)"))

    terminal.type("model.sleep = 600\n")
    terminal.type("second.fit(model, data, ckpt_path='saved/step=3.ckpt')\n")
    terminal.read_until("in step 3")
    terminal.type("\x03")
    time.sleep(0.5)  # two of a kind that come together are one
    terminal.type("\x03")
    assert "out of step" not in terminal.read_until(">>> ")
    terminal.type("second.interrupted, second.global_step\n")
    terminal.read_until(re.escape("(True, 3)"))
    terminal.type("exit()\n")
    assert terminal.process.wait(60) == 0
    os.close(terminal.ours)
