from __future__ import annotations

import os
import pdb
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
import torch

import fulmen
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.traceback import fold

PACKAGE = os.path.dirname(fulmen.__file__)
FRAMEWORK = """
def fit(step):
    try:
        outer(step)
    except BaseException as error:
        fold(error)
        raise
def outer(step): epoch(step)
def epoch(step): batch(step)
def batch(step): optimize(step)
def optimize(step): step()
def check(): raise MisconfigurationException("A rule.", fix="Do it.")
def fault(): {}["missing"]
"""


def framework() -> dict[str, Any]:
    """Functions that count as ours: their file lies in the package."""
    names: dict[str, Any] = {"fold": fold, "MisconfigurationException": MisconfigurationException}
    exec(compile(FRAMEWORK, os.path.join(PACKAGE, "loops", "imagined.py"), "exec"), names)
    return names


def frames(error: BaseException) -> list[str]:
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


def run(step: Any) -> list[str]:
    """The frames below this function, of the error that `step` raises inside `fit`."""
    with pytest.raises(BaseException) as caught:
        framework()["fit"](step)
    # Python 3.10 keeps the frame that raises again
    return [name for name in frames(caught.value)[1:] if sys.version_info >= (3, 11) or name != "fit"]


def test_the_users_own_frames_stay() -> None:
    def helper() -> None:
        raise ValueError("boo")

    def step() -> None:
        helper()

    assert run(step) == ["step", "helper"]


def test_of_torch_the_innermost_frame_stays() -> None:
    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.one_hot(x.float())

    def call() -> None:
        torch.nn.Sequential(Net())(torch.ones(1))

    assert run(call) == ["call", "forward"]

    def unfold() -> None:
        torch.nn.Sequential(torch.nn.Linear(1, 1))(torch.ones(1, 2))

    assert run(unfold) == ["unfold", "forward"]  # torch's own `Linear.forward`


def test_glue_of_the_standard_library_goes() -> None:
    @torch.no_grad()
    def step() -> None:
        raise ValueError

    assert run(step) == ["step"]


def test_a_mistake_that_we_report_ends_at_the_user() -> None:
    ours = framework()
    assert run(ours["check"]) == []

    def step() -> None:
        ours["check"]()

    assert run(step) == ["step"]


def test_a_fault_of_ours_shows_where_it_is() -> None:
    assert run(framework()["fault"]) == ["fault"]


def test_causes_are_folded_too() -> None:
    def step() -> None:
        try:
            torch.nn.Linear(1, 1)(torch.ones(1, 2))
        except RuntimeError as error:
            raise ValueError("wrapped") from error

    with pytest.raises(ValueError, match="wrapped") as caught:
        framework()["fit"](step)
    cause = caught.value.__cause__
    assert isinstance(cause, RuntimeError)
    assert frames(cause) == ["step", "forward"]


def test_a_ring_of_causes_ends() -> None:
    first, second = ValueError("1"), ValueError("2")
    first.__cause__, second.__cause__ = second, first
    fold(first)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups came with Python 3.11")
def test_groups_are_folded() -> None:
    def fail() -> None:
        raise ValueError("one")

    with pytest.raises(ValueError, match="one") as single:
        framework()["optimize"](fail)
    group = getattr(__builtins__, "ExceptionGroup", None) or __builtins__["ExceptionGroup"]
    fold(group("all", [single.value]))
    assert "optimize" not in frames(single.value)


def test_everything_is_there_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULMEN_FULL_TRACEBACK", "1")

    def step() -> None:
        raise ValueError

    assert run(step) == ["fit", "outer", "epoch", "batch", "optimize", "step"]


def test_a_debugger_finds_the_users_frame() -> None:
    def step() -> None:
        here = 42  # noqa: F841 - read by the debugger
        raise ValueError

    with pytest.raises(ValueError) as caught:
        framework()["fit"](step)
    debugger = pdb.Pdb(nosigint=True, readrc=False)
    stack, position = debugger.get_stack(None, caught.value.__traceback__)
    assert stack[position][0].f_locals["here"] == 42
    assert stack[position][0].f_code.co_name == "step"


SCRIPT = """
from tests_framework import fit

def training_step():
    raise ValueError("boo")

def main():
    fit(training_step)

main()
"""


def test_what_a_script_prints(tmp_path: Path) -> None:
    """At most 12 lines above the user's own frame."""
    (tmp_path / "tests_framework.py").write_text(
        "import os, fulmen\n"
        "from fulmen.utilities.traceback import fold\n"
        "from fulmen.utilities.exceptions import MisconfigurationException\n"
        f"exec(compile({FRAMEWORK!r}, os.path.join(os.path.dirname(fulmen.__file__), 'loops', 'x.py'), 'exec'))\n"
    )
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines()
    own = next(i for i, line in enumerate(lines) if "in training_step" in line)
    assert own <= 12
    assert done.returncode == 1
    assert lines[-1] == "ValueError: boo"
    assert ("loops" in done.stderr) == (sys.version_info < (3, 11))
