"""Proves before training that a module can be served."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fulmen.callbacks.callback import Callback
from fulmen.serve.http_server import Application, served
from fulmen.serve.servable_module import ServableModule
from fulmen.utilities.exceptions import MisconfiguredHook, MisconfiguredRun, MisconfiguredType
from fulmen.utilities.imports import require
from fulmen.utilities.rank_zero import rank_zero_info, rank_zero_only, rank_zero_warn
from fulmen.utilities.seed import isolate_rng

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer


class ServableModuleValidator(Callback):
    """Before training, serves the module over HTTP, sends it its own payload and compares the response.

    The server runs in this process, on the device of the module, in evaluation mode and without gradients. Training is
    the same as without it: modes and random states are put back.

    Args:
        optimization: None; no other form of the module can be served yet.
        server: ``"fastapi"``.
        host: The address that the server listens on.
        port: The port; 0 takes a free one.
        timeout: How many seconds to wait for the server to start, and for the response.
        exit_on_failure: Whether a failure ends the run; otherwise it is a warning, and :attr:`successful` is False.

    Attributes:
        resp: The response, with ``status_code`` and ``json()``; None before there is one.

    Raises:
        MisconfiguredHook: If `optimization` or `server` is something else.

    Example:
        ``Trainer(callbacks=[ServableModuleValidator(port=0)]).fit(model)``
    """

    def __init__(
        self,
        optimization: str | None = None,
        server: str = "fastapi",
        host: str = "127.0.0.1",
        port: int = 8080,
        timeout: int = 20,
        exit_on_failure: bool = True,
    ) -> None:
        if optimization is not None:
            raise MisconfiguredHook(
                "`optimization` is None: the module is served as it is.",
                got=f"optimization={optimization!r}",
                fix="Leave it out.",
            )
        if server != "fastapi":
            raise MisconfiguredHook(
                'The server is `"fastapi"`.', got=f"server={server!r}", fix='Leave it out, or pass `server="fastapi"`.'
            )
        self.optimization = optimization
        self.server = server
        self.host = host
        self.port = port
        self.timeout = timeout
        self.exit_on_failure = exit_on_failure
        self.resp: Any = None
        self._successful: bool | None = None

    @property
    def successful(self) -> bool | None:
        """Whether the response was the expected one; None before there is one."""
        return self._successful

    def state_dict(self) -> dict[str, Any]:
        """What came of it."""
        return {"successful": self._successful, "optimization": self.optimization, "server": self.server}

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, servable_module: Any) -> None:
        """Serves the module and compares the response."""
        self.resp, self._successful = None, None
        try:
            response = self._check(servable_module)
        except Exception as error:
            self._successful = False
            if self.exit_on_failure:
                raise
            rank_zero_warn(f"The module cannot be served: {error}")
        else:
            self._successful = True
            rank_zero_info(f"The module can be served; it answered {response}.")

    def _check(self, module: Any) -> Any:
        if not isinstance(module, ServableModule):
            raise MisconfiguredType(
                "`ServableModuleValidator` needs a `ServableModule`.",
                got=type(module).__name__,
                fix=f"Write `class {type(module).__name__}(ServableModule, LightningModule)`, with its four methods.",
            )
        payload, expected = module.configure_payload(), module.configure_response()
        _check_payload(payload, module)
        with isolate_rng(), _evaluating(module):
            application = Application(module)
            with served(application.app, self.host, self.port, self.timeout) as address:
                self._ask(f"{address}/serve", payload)
        if application.error is not None:
            raise MisconfiguredRun(
                f"`{type(module).__name__}` must answer its own payload.",
                got=f"{type(application.error).__name__}: {application.error}",
                fix="Mend `configure_serialization` or `serve_step`; they get what `configure_payload` returns.",
            ) from application.error
        found = self.resp.json()
        if found != expected:
            raise MisconfiguredRun(
                "The response must be the one that `configure_response` returns.",
                got=f"{found} instead of {expected}",
                fix="Mend `serve_step` or `configure_serialization`, or return from `configure_response` what the "
                "module answers.",
            )
        return found

    def _ask(self, address: str, payload: dict[str, Any]) -> None:
        httpx = require("httpx", "serve", "`ServableModuleValidator`")
        try:
            with httpx.Client(timeout=self.timeout, trust_env=False) as client:  # a proxy knows no loopback
                self.resp = client.post(address, json=payload)
        except httpx.TimeoutException as error:
            raise MisconfiguredRun(
                "The module must answer in time.",
                got=f"no response within {self.timeout} s",
                fix=f"`ServableModuleValidator(timeout={self.timeout * 3})`, or make `serve_step` faster.",
            ) from error


@contextmanager
def _evaluating(module: Any) -> Iterator[None]:
    modes = {child: child.training for child in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for child, training in modes.items():
            child.training = training


def _check_payload(payload: Any, module: Any) -> None:
    body = payload.get("body") if isinstance(payload, dict) else None
    inputs = module.configure_serialization()[0]
    missing = sorted(set(inputs) - set(body)) if isinstance(body, dict) else None
    if missing is None or missing:
        raise MisconfiguredRun(
            '`configure_payload` returns a dictionary with the inputs, by name, under "body".',
            got=f"{payload!r}" + (f", without {', '.join(missing)}" if missing else ""),
            fix=f"Return `{{'body': {{{', '.join(f'{name!r}: ...' for name in inputs)}}}}}`.",
        )
