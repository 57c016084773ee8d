from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.runs import QUIET, Net, data

from fulmen.callbacks.callback import Callback
from fulmen.callbacks.model_checkpoint import ModelCheckpoint
from fulmen.checkpoint.async_io import AsyncCheckpointIO
from fulmen.environments.slurm import SLURMEnvironment
from fulmen.trainer.trainer import Trainer
from fulmen.utilities.exceptions import SIGTERMException

USUAL = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler, signal.SIGUSR1: signal.SIG_DFL,
         signal.SIGHUP: signal.SIG_DFL}  # fmt: skip


@pytest.fixture(autouse=True)
def _job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """A job of SLURM, with a queue that takes note of what it is told."""
    caplog.set_level(logging.INFO, logger="fulmen")
    for name in [name for name in os.environ if name.startswith("SLURM")]:
        monkeypatch.delenv(name)
    for name, value in {"NTASKS": "1", "JOB_ID": "77", "JOB_NAME": "train", "PROCID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    queue('#!/bin/sh\necho "$@" >> queue\n')
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    before = {number: signal.signal(number, handler) for number, handler in USUAL.items()}
    yield
    assert {number: signal.signal(number, handler) for number, handler in before.items()} == USUAL


def queue(script: str) -> None:
    """Makes a `scontrol`."""
    os.makedirs("bin", exist_ok=True)
    Path("bin/scontrol").write_text(script)
    Path("bin/scontrol").chmod(0o755)


class Steps(Net):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.seen.append(batch_idx)
        return super().training_step(batch, batch_idx)


class Raises(Callback):
    def __init__(self, at: int, *numbers: int) -> None:
        self.at, self.numbers = at, numbers

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.at:
            for number in self.numbers:
                signal.raise_signal(number)


def run(*callbacks: Any, batches: int = 6, ckpt_path: Any = None, **flags: Any) -> Steps:
    """Trains as the job's script does each time that the job starts."""
    module = Steps()
    trainer = Trainer(**{**QUIET, **flags}, callbacks=list(callbacks))
    trainer.fit(module, data(batches), ckpt_path=ckpt_path)
    return module


def files() -> list[str]:
    return sorted(name for name in os.listdir() if name.startswith("hpc"))


def asked() -> list[str]:
    return Path("queue").read_text().splitlines() if os.path.exists("queue") else []


def test_the_job_is_put_into_the_queue_again_and_goes_on(caplog: Any) -> None:
    whole = run()
    with pytest.raises(SIGTERMException):
        run(Raises(1, signal.SIGUSR1))
    assert (files(), asked()) == (["hpc_ckpt_1.ckpt"], ["requeue 77"])
    path = os.path.abspath("hpc_ckpt_1.ckpt")
    message = (
        f"SIGUSR1: everything is saved to {path}, and job 77 is in the queue again, where `fit` goes on by itself."
    )
    assert caplog.messages[-1] == message
    with pytest.raises(SIGTERMException):
        run(Raises(3, signal.SIGUSR1))
    assert (files(), asked()) == (["hpc_ckpt_1.ckpt", "hpc_ckpt_2.ckpt"], ["requeue 77"] * 2)
    last = run()
    assert f"The job goes on from {os.path.abspath('hpc_ckpt_2.ckpt')}" in caplog.messages[-1]
    assert whole.seen == [0, 1, 2, 3, 4, 5]
    assert last.seen == [4, 5]


def test_the_weights_are_those_of_a_run_that_was_not_stopped() -> None:
    torch.manual_seed(3)
    whole = run()
    torch.manual_seed(3)
    with pytest.raises(SIGTERMException):
        run(Raises(2, signal.SIGUSR1))
    torch.testing.assert_close(dict(run().state_dict()), dict(whole.state_dict()), rtol=0, atol=0)


def test_what_a_job_saved_outweighs_what_its_script_names() -> None:
    """The script is the same each time, and names where the first start began."""
    trainer = Trainer(**{**QUIET, "max_steps": 1})
    trainer.fit(Steps(), data(6))
    trainer.save_checkpoint("first.ckpt")
    with pytest.raises(SIGTERMException):
        run(Raises(3, signal.SIGUSR1), ckpt_path="first.ckpt")
    assert run(ckpt_path="first.ckpt").seen == [4, 5]


def test_a_file_that_is_cut_off_is_passed_over() -> None:
    with pytest.raises(SIGTERMException):
        run(Raises(1, signal.SIGUSR1))
    whole = Path("hpc_ckpt_1.ckpt").read_bytes()
    Path("hpc_ckpt_10.ckpt").write_bytes(whole[:1000])
    with pytest.warns(UserWarning, match=r"hpc_ckpt_10\.ckpt is passed over"):
        assert run().seen == [2, 3, 4, 5]


def test_the_next_fit_of_a_trainer_does_not_go_back() -> None:
    with pytest.raises(SIGTERMException):
        run(Raises(1, signal.SIGUSR1))
    module, trainer = Steps(), Trainer(**QUIET)
    trainer.fit(module, data(6))
    trainer.fit_loop.max_epochs = 2
    trainer.fit(module, data(6))
    assert module.seen == [2, 3, 4, 5, 0, 1, 2, 3, 4, 5]


def test_evaluation_takes_what_it_is_given() -> None:
    with pytest.raises(SIGTERMException):
        run(Raises(1, signal.SIGUSR1))

    class Tests(Steps):
        def test_step(self, batch: Any, batch_idx: int) -> None: ...

    trainer = Trainer(**QUIET)
    trainer.test(Tests(), data(1), verbose=False)
    assert trainer.ckpt_path is None


def test_a_file_written_in_the_background_is_there_before_the_queue_hears_of_it() -> None:
    queue("#!/bin/sh\nls hpc* > queue\n")
    with pytest.raises(SIGTERMException):
        run(Raises(1, signal.SIGUSR1), plugins=AsyncCheckpointIO())
    assert asked() == ["hpc_ckpt_1.ckpt"]
    assert run().seen == [2, 3, 4, 5]


def test_an_array_of_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "70")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "7")
    with pytest.raises(SIGTERMException):
        run(Raises(1, signal.SIGUSR1))
    assert asked() == ["requeue 70_7"]


def test_another_signal() -> None:
    job = SLURMEnvironment(requeue_signal=signal.SIGHUP)
    with pytest.raises(SIGTERMException):
        run(Raises(1, signal.SIGHUP), plugins=job)
    assert (files(), asked()) == (["hpc_ckpt_1.ckpt"], ["requeue 77"])


def test_the_queue_ends_the_job_while_it_saves() -> None:
    """SLURM sends SIGTERM to a job that it puts into the queue again."""
    with pytest.raises(SIGTERMException):
        run(Raises(1, signal.SIGTERM, signal.SIGUSR1))
    assert (files(), asked()) == (["hpc_ckpt_1.ckpt"], ["requeue 77"])


def test_sigterm_alone_is_what_it_is_elsewhere() -> None:
    with pytest.raises(SIGTERMException):
        run(Raises(1, signal.SIGTERM), ModelCheckpoint("saved", "{step}"), enable_checkpointing=True)
    assert (files(), asked(), os.listdir("saved")) == ([], [], ["step=2.ckpt"])


def test_without_auto_requeue_the_signal_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    assert run(Raises(1, signal.SIGUSR1), plugins=SLURMEnvironment(auto_requeue=False)).seen == [0, 1, 2, 3, 4, 5]
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")
    run(Raises(1, signal.SIGUSR1), plugins=SLURMEnvironment())
    assert heard == [signal.SIGUSR1] * 2
    assert (files(), asked()) == ([], [])
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)


def test_before_the_first_step_there_is_nothing_to_save(caplog: Any) -> None:
    class Validates(Steps):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            signal.raise_signal(signal.SIGUSR1)

    with pytest.raises(SIGTERMException):
        Trainer(**QUIET).fit(Validates(), data(2), data(2))
    assert (files(), asked()) == ([], ["requeue 77"])
    assert "SIGUSR1: there is nothing to save before the first step, and job 77" in caplog.text


@pytest.mark.parametrize(
    ("script", "why"),
    [("#!/bin/sh\necho 'Requeue disabled' >&2\nexit 1\n", "Requeue disabled"), ("#!/bin/sh\nexit 3\n", "3"), ("", "")],
)
def test_a_queue_that_refuses(script: str, why: str, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    queue(script)
    if not script:
        monkeypatch.setenv("PATH", "nowhere")
        why = "[Errno 2] No such file or directory: 'scontrol'"
    with pytest.raises(SIGTERMException):
        run(Raises(1, signal.SIGUSR1))
    assert files() == ["hpc_ckpt_1.ckpt"]
    assert f"could not be put into the queue again: `scontrol requeue 77`: {why}. Submit it by hand" in caplog.text
