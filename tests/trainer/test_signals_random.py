"""Runs that real signals stop at random moments, and that go on as if nothing had been."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from .signalled import EVENTS, STEP

MOMENTS = 100 if os.environ.get("FULMEN_SOAK") == "1" else 6
IN_A_ROW = 3  # how often one run is stopped
EXIT = {"SIGTERM": 143, "SIGINT": -2}
KINDS = [
    (0, 1, False),
    (2, 3, False),
    (0, 3, False),
    (2, 1, True),
    (2, 1, False),
    (2, 3, True),
]  # workers, window, kept


class Server:
    def __init__(self) -> None:
        script = Path(__file__).with_name("signalled.py")
        root = script.parents[2]
        paths = [str(root / "src"), str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.whole: dict[Any, tuple[list[str], Any]] = {}

    def run(self, folder: Path, kind: tuple[int, int, bool], **hit: Any) -> dict[str, Any]:
        folder.mkdir(exist_ok=True)
        order = {"folder": str(folder), **dict(zip(("workers", "accumulate", "persistent"), kind, strict=True)), **hit}
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def undisturbed(self, folder: Path, kind: tuple[int, int, bool]) -> tuple[list[str], Any]:
        if kind not in self.whole:
            assert self.run(folder, kind)["status"] == 0, (folder / "output").read_text()
            self.whole[kind] = result(folder)
        return self.whole[kind]


def result(folder: Path) -> tuple[list[str], Any]:
    return (folder / "ids").read_text().splitlines(), torch.load(folder / "final.pt")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    served = Server()
    yield served
    served.process.communicate()
    assert served.process.returncode == 0


def chains() -> list[Any]:
    """Each run with the moments at which it is stopped; all signals, addressees and kinds of loaders come up."""
    drawn = random.Random(2026)
    found = []
    for number in range(-(-MOMENTS // IN_A_ROW)):
        kind = KINDS[number % len(KINDS)]
        hits = []
        for _ in range(min(IN_A_ROW, MOMENTS - number * IN_A_ROW)):
            hits.append(
                {
                    "signal": drawn.choice(["SIGTERM", "SIGINT"]),
                    "group": drawn.random() < 0.5,
                    "part": drawn.random(),
                    "delay": drawn.random() * 2 * STEP,
                }
            )
        found.append(pytest.param(kind, hits, id=f"{number}-workers{kind[0]}-accumulate{kind[1]}"))
    return found


@pytest.mark.parametrize(("kind", "hits"), chains())
def test_no_step_is_lost(server: Server, tmp_path: Path, kind: tuple[int, int, bool], hits: list[Any]) -> None:
    ids, final = server.undisturbed(tmp_path / "whole", kind)
    folder = tmp_path / "stopped"
    folder.mkdir()
    stops = 0
    for hit in hits:
        done = len((folder / "ids").read_text().splitlines()) if (folder / "ids").exists() else 0
        left = EVENTS - done
        event = int(hit.pop("part") * max(left - 3, 1)) + 1
        answer = server.run(folder, kind, event=event, **hit)
        output = (folder / "output").read_text()
        if not answer["hit"]:  # the machine was busy, and the run over before the signal was sent
            assert answer["status"] == 0, output
            break
        stops += 1
        assert answer["status"] == EXIT[hit["signal"]], output
        name = "Ctrl-C" if hit["signal"] == "SIGINT" else hit["signal"]
        assert f"{name}: " in output
        assert "Error" not in output.replace("KeyboardInterrupt", "")
    if not (folder / "final.pt").exists():
        assert server.run(folder, kind)["status"] == 0, (folder / "output").read_text()
    assert stops or not hits
    again, end = result(folder)
    assert again == ids
    assert_same(end, final)


def assert_same(one: Any, other: Any) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
