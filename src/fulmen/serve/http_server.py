"""A FastAPI application for a module, and a uvicorn server in a thread of this process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from fulmen.utilities.exceptions import MisconfiguredRun
from fulmen.utilities.imports import require


class Application:
    """Answers ``GET /ping``, and ``POST /serve`` with a module's ``serve_step``.

    Args:
        module: The module.

    Attributes:
        app: The FastAPI application.
        error: What the last request failed with, or None.
    """

    def __init__(self, module: Any) -> None:
        fastapi = require("fastapi", "serve", "Serving a module")
        self._module = module
        self._inputs, self._outputs = module.configure_serialization()
        self.error: Exception | None = None
        self.app = fastapi.FastAPI()
        self.app.get("/ping")(self.ping)
        self.app.post("/serve")(self.serve)

    # Coroutines, so that they run in the server's own thread: its pool for functions would outlive the server a moment.
    async def ping(self) -> bool:
        """Whether somebody is there."""
        return True

    async def serve(self, payload: dict[str, Any]) -> Any:
        """Answers a request.

        Args:
            payload: The request, with the inputs under ``"body"``.
        """
        try:
            body = payload["body"]
            inputs = {name: make(body[name]) for name, make in self._inputs.items()}
            with torch.inference_mode():
                outputs = self._module.serve_step(**inputs)
            return {name: make(outputs[name]) for name, make in self._outputs.items()}
        except Exception as error:
            self.error = error
            raise require("fastapi", "serve", "Serving a module").HTTPException(
                status_code=500, detail=f"{type(error).__name__}: {error}"
            ) from error


@contextmanager
def served(app: Any, host: str, port: int, timeout: float) -> Iterator[str]:
    """Runs a server in a thread while the ``with`` block runs.

    Args:
        app: The application.
        host: The address to listen on.
        port: The port; 0 takes a free one.
        timeout: How many seconds the server may take to start.

    Yields:
        The server's address, such as ``http://127.0.0.1:8080``.

    Raises:
        MisconfiguredRun: If the port is taken, or the server does not start in time.
    """
    uvicorn = require("uvicorn", "serve", "Serving a module")
    listener = _listen(host, port)
    config = uvicorn.Config(app, log_level="warning", lifespan="off", access_log=False, log_config=None)
    server = uvicorn.Server(config)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            server.run(sockets=[listener])
        except (Exception, SystemExit) as error:  # it exits where it cannot load the application
            failures.append(error)

    thread = threading.Thread(target=run, name="fulmen-serve", daemon=True)
    thread.start()
    try:
        end = time.monotonic() + timeout
        while not server.started:
            if time.monotonic() > end or not thread.is_alive():
                raise MisconfiguredRun(
                    "The server must start in time.",
                    got=repr(failures[0]) if failures else f"no server within {timeout} s",
                    fix="`ServableModuleValidator(timeout=60)`, if the machine is slow.",
                ) from (failures[0] if failures else None)
            time.sleep(0.01)
        yield f"http://{host}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout)
        listener.close()


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise MisconfiguredRun(
            "The server needs an address of this machine and a port that nobody uses.",
            got=f"{host}:{port} ({error.strerror})",
            fix="`ServableModuleValidator(port=0)` takes a port that is free.",
        ) from error
    return listener
