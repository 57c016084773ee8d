from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
from tests.runs import QUIET, Net, data
from tests.strategies.launchers.processes import CLEAN, gone, pids, program, run, start

from fulmen.environments.lightning import LightningEnvironment
from fulmen.environments.slurm import SLURMEnvironment
from fulmen.strategies import process_group
from fulmen.strategies.ddp import DDPStrategy
from fulmen.strategies.launchers.launcher import _Launcher
from fulmen.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from fulmen.strategies.single_device import SingleDeviceStrategy
from fulmen.trainer.trainer import Trainer

NOTES = """
launcher.start()  # nothing more
again = _SubprocessScriptLauncher(LightningEnvironment(), 2, 1)
returned = again.launch(lambda one, two: (one, two), 1, two=2, trainer="anybody")
import json
told = {name: os.environ[name] for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")}
note = [told, sys.argv[1:], __debug__, sys.warnoptions, returned, len(launcher.procs)]
note.append("FULMEN_PARENT_PID" in os.environ)
with open(f"note{rank}", "w") as file:
    json.dump(note, file)
"""


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CLEAN:
        monkeypatch.delenv(name, raising=False)


def _check_notes() -> None:
    notes = [json.loads(Path(f"note{rank}").read_text()) for rank in range(2)]
    ports = {note[0].pop("MASTER_PORT") for note in notes}
    assert len(ports) == 1 and int(ports.pop()) > 0
    for rank, note in enumerate(notes):
        told = {"MASTER_ADDR": "127.0.0.1", "NODE_RANK": "0", "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        assert note == [told, ["a", "--b=c d"], False, ["ignore"], [1, 2], 1 - rank, False]


def test_the_program_is_started_again(tmp_path: Path) -> None:
    """With Python's options and the program's, from another folder than the present one, and once."""
    os.makedirs("elsewhere")
    program("", name="inner.py")
    head, _, tail = Path("inner.py").read_text().partition("launcher.start()")
    text = f"import os\nos.chdir({str(tmp_path / 'elsewhere')!r})\n{head}launcher.start(){tail}{NOTES}"
    Path("program.py").write_text(text)
    done = run("-O", "-W", "ignore", "program.py", "a", "--b=c d")
    assert (done.returncode, done.stderr) == (0, "")
    os.chdir("elsewhere")
    _check_notes()


def test_processes_start_where_the_program_did(monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative `os.chdir`, which each repeats, and relative parts of PYTHONPATH lead to the same places for all."""
    os.makedirs("elsewhere")
    os.makedirs("library")
    Path("library/mine_alone.py").touch()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["library", os.environ.get("PYTHONPATH", "")]))
    program("import mine_alone", name="inner.py")
    head = Path("inner.py").read_text().replace("launcher = ", "os.chdir('elsewhere')\nlauncher = ")
    Path("program.py").write_text(head)
    done = run("program.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert Path("elsewhere/pid0").exists() and Path("elsewhere/pid1").exists()


def test_a_package_is_started_again() -> None:
    os.makedirs("package")
    Path("package/__init__.py").touch()
    program(NOTES, name="package/__main__.py")
    done = run("-O", "-W", "ignore", "-m", "package", "a", "--b=c d")
    assert (done.returncode, done.stderr) == (0, "")
    _check_notes()


@pytest.mark.parametrize(
    ("death", "how"),
    [
        pytest.param("raise ValueError('mine')", "has ended with exit code 1", marks=pytest.mark.soak),
        pytest.param("os._exit(3)", "has ended with exit code 3", marks=pytest.mark.soak),
        ("os.kill(os.getpid(), signal.SIGKILL)", "was ended by SIGKILL"),
    ],
)
def test_a_death_ends_all(death: str, how: str) -> None:
    name = program(f"if rank == 1: {death}\ntime.sleep(60)", count=3)
    done = run(name)
    assert done.returncode == 1
    assert done.stderr.endswith(
        f"The process with local rank 1 {how}, and so the run ends. What it has printed stands above.\n"
    )
    gone(pids(3))


def test_who_attends_to_deaths_is_left_to_it() -> None:
    body = """
    if rank == 1: os._exit(3)
    launcher.attended = True
    while not launcher.dead(): time.sleep(0.01)
    time.sleep(0.6)
    print(launcher.dead(), flush=True)
    """
    done = run(program(body))
    assert (done.returncode, done.stdout) == (1, "[(1, 3)]\n")
    assert done.stderr == "The process with local rank 1 has ended with exit code 3.\n"


@pytest.mark.parametrize(
    ("end", "code"),
    [
        pytest.param("raise ValueError('mine')", 1, marks=pytest.mark.soak),
        ("launcher.failed = True; sys.exit(7)", 7),
        ("pass", 0),
    ],
)
def test_none_stays_when_the_first_ends(end: str, code: int) -> None:
    body = f"""
    subprocess_script._LINGER = 60 if {code} else 0.3
    subprocess_script._LINGER_FAILED = 0.3
    if rank == 1: signal.signal(signal.SIGTERM, signal.SIG_IGN); subprocess_script._END = 0.3; time.sleep(60)
    subprocess_script._END = _SubprocessScriptLauncher.end.__defaults__ = (0.3,)
    time.sleep(0.1)
    {end}
    """
    done = run(program(body))
    assert done.returncode == code
    assert ("Local rank 1 has not come to an end, and is ended." in done.stderr) == (code == 0)
    gone(pids(2))


@pytest.mark.soak
def test_signals_reach_all() -> None:
    body = """
    if rank: time.sleep(60)
    launcher.attended = True
    launcher.kill(signal.SIGUSR1)
    while len(launcher.dead()) < 2: time.sleep(0.01)
    print(launcher.dead())
    """
    done = run(program(body, count=3))
    assert done.stdout == f"[(1, {-signal.SIGUSR1}), (2, {-signal.SIGUSR1})]\n"


def test_a_process_that_comes_too_late_ends() -> None:
    """It was killed before the others had imported anything."""
    text = Path(program("time.sleep(60)")).read_text()
    wait = (
        "import os, time\nwhile 'LOCAL_RANK' in os.environ and os.getppid() == int(os.environ['FULMEN_PARENT_PID']):\n"
    )
    early = "if 'LOCAL_RANK' in os.environ: open('pid1', 'w').write(str(os.getpid()))\n"
    Path("program.py").write_text(f"import os\n{early}{wait}    time.sleep(0.01)\n{text}")
    process = start("program.py")
    pids(2)
    process.kill()
    _, errors = process.communicate(timeout=30)
    assert errors == "The process that started this one is gone, so this one ends as well.\n"
    gone(pids(2))


@pytest.mark.soak
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_orphan(number: signal.Signals) -> None:
    process = start(program("time.sleep(60)", count=3))
    pids(3)
    process.send_signal(number)
    process.wait(30)
    gone(pids(3))
    process.communicate()


def test_strangers_are_not_followed() -> None:
    """A program that a process of the run starts has the variable's owner for a grandparent."""
    inner = "import os, fulmen; print(os.getppid(), 'FULMEN_PARENT_PID' in os.environ)"
    done = subprocess.run(
        [sys.executable, "-c", inner],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "FULMEN_PARENT_PID": str(os.getppid())},
    )
    assert done.stdout == f"{os.getpid()} False\n"


def test_what_others_have_started_is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = _SubprocessScriptLauncher(SLURMEnvironment(), 4, 2)
    assert launcher.launch(lambda: 3) == 3
    assert isinstance(launcher, _Launcher) and not launcher.is_interactive_compatible
    assert launcher.procs == [] and "LOCAL_RANK" not in os.environ


@pytest.mark.parametrize("words", [("-c",), ("-",)])
def test_a_program_without_a_file(words: tuple[str, ...]) -> None:
    text = Path(program("")).read_text()
    done = run(*words, text) if words == ("-c",) else run("-", input=text)
    assert done.returncode == 1
    assert "What to do: Put the code into a file" in done.stderr


def test_a_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    launcher = _SubprocessScriptLauncher(LightningEnvironment(), 2, 1)
    with pytest.raises(RuntimeError, match=r'(?s)notebook or a prompt.*`Trainer\(strategy="ddp_notebook"\)`'):
        launcher.start()
    assert "LOCAL_RANK" not in os.environ
    monkeypatch.delattr(sys, "ps1")
    ipython: Any = ModuleType("IPython")
    ipython.get_ipython = object
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    with pytest.raises(RuntimeError, match="ddp_notebook"):
        launcher.start()


def test_one_count_for_all_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("FULMEN_LOCAL_PROCESSES", "2")
    _SubprocessScriptLauncher(LightningEnvironment(), 2, 1).start()
    with pytest.raises(
        RuntimeError, match=r"(?s)3 processes for each machine, and 2 have been.*`Trainer\(devices=2\)`"
    ):
        _SubprocessScriptLauncher(LightningEnvironment(), 3, 1).start()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, r"(?s)num_nodes=2 without MASTER_PORT.*MASTER_ADDR=<the first machine>"),
        ({"NODE_RANK": "1"}, "num_nodes=2 without MASTER_ADDR and MASTER_PORT"),
        ({"NODE_RANK": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "(?s)NODE_RANK=2 and num_nodes=2.*from 0 to 1"),
        ({"RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, r"(?s)RANK=1 without NODE_RANK.*KubeflowEnvironment"),
    ],
)
def test_machines_have_to_find_each_other(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RuntimeError, match=message):
        _SubprocessScriptLauncher(LightningEnvironment(), 1, 2).start()


def test_several_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("NODE_RANK", "1"), ("MASTER_ADDR", "one"), ("MASTER_PORT", "29500")):
        monkeypatch.setenv(name, value)
    _SubprocessScriptLauncher(LightningEnvironment(), 1, 2).start()
    assert (os.environ["WORLD_SIZE"], os.environ["LOCAL_RANK"], os.environ["NODE_RANK"]) == ("2", "0", "1")


@pytest.mark.soak
def test_a_run_does_not_wait_for_a_process_that_has_ended() -> None:
    Path("program.py").write_text(
        "import os, sys\n"
        "from fulmen import Trainer\n"
        "from fulmen.demos.boring_classes import BoringModel\n"
        "if os.environ.get('LOCAL_RANK') == '1': sys.exit(0)\n"
        "Trainer(accelerator='cpu', devices=2, strategy='ddp', max_steps=1, logger=False).fit(BoringModel())\n"
    )
    done = run("program.py")
    assert done.returncode == 1
    assert "The process with local rank 1 has ended with exit code 0 before it came" in done.stderr


@pytest.mark.soak
def test_a_process_that_catches_the_error_keeps_no_other_waiting() -> None:
    Path("program.py").write_text(
        "import time\n"
        "from fulmen import Trainer\n"
        "from fulmen.demos.boring_classes import BoringModel\n"
        "class Model(BoringModel):\n"
        "    def training_step(self, batch, index):\n"
        "        if self.global_rank: raise ValueError('mine')\n"
        "        return super().training_step(batch, index)\n"
        "trainer = Trainer(accelerator='cpu', devices=2, strategy='ddp', max_steps=1, logger=False)\n"
        "try: trainer.fit(Model())\n"
        "except Exception as error: caught = error\n"
        "if trainer.global_rank: time.sleep(30)\n"
        "print(type(caught).__name__)\n"
    )
    assert "PeerFailed\n" in run("program.py").stdout


class Own(_SubprocessScriptLauncher):
    """As libraries write one: it is called for each run, and calls the run."""

    calls: ClassVar[list[str]] = []

    def launch(self, function: Any, *args: Any, trainer: Any = None, **kwargs: Any) -> Any:
        assert trainer.strategy.launcher is self and args[0] is not None
        self.calls.append(function.__name__)
        return function(*args, **kwargs)


@pytest.mark.parametrize("kind", [DDPStrategy, SingleDeviceStrategy])
def test_a_launcher_of_somebodys_own(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_store", None), ("_joined", 0), ("_place", None), ("_runs", 0), ("members", {})):
        monkeypatch.setattr(process_group, name, value)

    class Launched(kind):  # type: ignore[misc]
        def _configure_launcher(self) -> None:
            self._launcher = Own(self.cluster_environment, 1, 1)

    Own.calls.clear()
    trainer, net = Trainer(**QUIET, strategy=Launched() if kind is DDPStrategy else Launched("cpu")), Net()
    net.validation_step = net.test_step = net.predict_step = net.training_step  # type: ignore[method-assign]
    trainer.fit(net, data(), data())
    assert trainer.global_step == 2
    trainer.validate(net, data(), verbose=False)
    trainer.test(net, data(), verbose=False)
    assert len(trainer.predict(net, data()) or []) == 2
    assert Own.calls == ["_fit_impl", "_validate_impl", "_test_impl", "_predict_impl"]
    process_group.leave_group()


def test_a_launcher_starts_its_processes_once() -> None:
    launcher = _SubprocessScriptLauncher(LightningEnvironment(), 2, 1)
    launcher.procs.append(subprocess.Popen(["true"]))
    launcher.procs[0].wait()
    with pytest.raises(RuntimeError, match=r"(?s)1 that it has started.*make another strategy"):
        launcher._check_can_spawn_children()
