"""An MLflow server with its database, in a process of its own: ``python mlflow_server.py PORT FOLDER``.

It is the application that ``mlflow server`` runs, without the processes that the command puts around it, so that one
kill ends it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """Runs in ``folder``, where its runs stay when it is killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.store = f"sqlite:///{folder}/mlflow.db"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, __file__, str(self.port), str(self.folder)],
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.folder,
            )
        end = time.monotonic() + 120
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        raise RuntimeError((self.folder / "server.log").read_text())

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Server]:
    server = Server(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def _main(port: int, folder: str) -> None:
    from mlflow.server import (
        ARTIFACT_ROOT_ENV_VAR,
        ARTIFACTS_DESTINATION_ENV_VAR,
        BACKEND_STORE_URI_ENV_VAR,
        SERVE_ARTIFACTS_ENV_VAR,
        app,
    )
    from mlflow.server.handlers import initialize_backend_stores
    from werkzeug.serving import run_simple

    store = f"sqlite:///{folder}/mlflow.db"
    os.environ[BACKEND_STORE_URI_ENV_VAR] = store
    os.environ[ARTIFACT_ROOT_ENV_VAR] = "mlflow-artifacts:/"
    os.environ[ARTIFACTS_DESTINATION_ENV_VAR] = f"{folder}/artifacts"
    os.environ[SERVE_ARTIFACTS_ENV_VAR] = "true"
    initialize_backend_stores(store, None, "mlflow-artifacts:/")
    run_simple("127.0.0.1", port, app, threaded=True)


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2])
