"""Nothing in a checkpoint runs when it is loaded, from wherever, unless the user says so."""

from __future__ import annotations

import functools
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import attacks

NAMED_IN_ERRORS = {
    "reduce": "posix.system",
    "exec": "exec",
    "getattr": "getattr",
    "newobj": "subprocess.Popen",
    "build": "app.Built",
    "global": "never_imported.thing",
    "hub": "torch.hub.load",
    "partial": "functools.partial",
}


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What came of loading each malicious file: one process loads them all."""
    folder = tmp_path_factory.mktemp("files")
    attacks.write(folder / "good.pt", attacks.checkpoint())
    attacks.write(folder / "refused.pt", attacks.checkpoint("extra", attacks.Reduced()))
    for kind, code in attacks.PICKLES.items():
        for place in attacks.PLACES:
            content = attacks.checkpoint(place, attacks.SENTINEL)
            attacks.write(folder / f"pickle-{kind}-{place}.ckpt", content, code)
    for name, form in attacks.tagged().items():
        attacks.write(folder / f"tag-{name}.ckpt", attacks.checkpoint("hyper_parameters", form))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        (folder / "never_imported.py").write_text("open('pwned', 'w')")
        work = tmp_path_factory.mktemp("work")
        command = [sys.executable, attacks.__file__, str(folder), f"http://127.0.0.1:{server.server_address[1]}"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=work, env=_with_path(folder))
        server.shutdown()
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    yield found


def _with_path(folder: Path) -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), str(folder)])}


def test_the_files_are_what_they_seem(report: dict[str, Any]) -> None:
    assert report["good"]["error"] == ""
    assert len(report) > 2 * len(attacks.PICKLES) * len(attacks.PLACES)


def test_no_code_runs(report: dict[str, Any]) -> None:
    ran = {
        name: [outcome["events"], outcome["ran"]]
        for name, outcome in report.items()
        if not name.startswith("trusted") and (outcome["events"] or outcome["ran"] or outcome["pwned"])
    }
    assert ran == {}


def test_pickles_are_refused_by_name(report: dict[str, Any]) -> None:
    for name, outcome in report.items():
        if " pickle-" in name and not name.startswith("trusted"):
            assert "CheckpointError" in outcome["error"], (name, outcome["error"])
            kind = name.split("-")[1]
            assert NAMED_IN_ERRORS.get(kind, "") in outcome["error"], (name, outcome["error"])


def test_forms_are_refused_by_name(report: dict[str, Any]) -> None:
    harmless = {"PostInit", "SetAttr", "New", "Meta", "named tuple", "Hashed"}
    for name in attacks.tagged():
        for way in ("load", "url"):
            error = report[f"{way} tag-{name}"]["error"]
            if name in harmless:
                assert error == "", (name, error)
            else:
                assert error.startswith("MisconfiguredType"), (name, error)
                assert "'given'" in error and "given=..." in error, (name, error)


def test_code_runs_where_the_user_says_so(report: dict[str, Any]) -> None:
    """So the tests above would notice if it did."""
    assert report["trusted pickle-reduce-extra"]["pwned"]
    assert report["trusted tag-pickled"]["pwned"]
    assert any(event.startswith("os.system") for event in report["trusted tag-pickled"]["events"])
