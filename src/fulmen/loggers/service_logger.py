"""What loggers have in common that send a run to a service for experiments."""

from __future__ import annotations

import sys
import threading
import time
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

from fulmen.loggers.background import OnFailure
from fulmen.loggers.background_logger import BackgroundLogger
from fulmen.loggers.logger import XAxis
from fulmen.loggers.saved_models import Kept, SavedModel, new_models
from fulmen.utilities.exceptions import MisconfiguredValue
from fulmen.utilities.rank_zero import rank_zero_only

if TYPE_CHECKING:
    from torch.nn import Module

    from fulmen.callbacks.callback import Callback
    from fulmen.callbacks.model_checkpoint import ModelCheckpoint


class ServiceLogger(BackgroundLogger):
    """A logger whose run is made by a service, which may be slow, or away.

    Whatever talks to the service is queued, the making of the run as well. Only who asks for something that the
    service alone knows waits, for `drain_timeout` seconds at most.

    Args:
        prefix: What is put before the name of each metric, with a hyphen between.
        log_model: Which checkpoints are sent: True for those that are there at the end of training, ``"all"`` for
            each as soon as it is saved, False for none.
        on_failure: What happens when something cannot be sent: ``"warn"`` or ``"raise"``.
        drain_timeout: For how many seconds the end of a run waits for what is not sent yet.
        x_axis: What the Trainer hands over as the step.

    Raises:
        MisconfigurationException: If an option has no meaning.
    """

    LOGGER_JOIN_CHAR = "-"

    def __init__(
        self,
        *,
        prefix: str,
        log_model: Literal["all"] | bool,
        on_failure: OnFailure,
        drain_timeout: float,
        x_axis: XAxis,
    ) -> None:
        # Before the service has answered, nothing was sent that could be there twice.
        super().__init__(
            on_failure=on_failure, drain_timeout=drain_timeout, x_axis=x_axis, retry_on=_is_refused_connection
        )
        if log_model not in (True, False, "all"):
            raise MisconfiguredValue(
                '`log_model` is True, False or "all".',
                got=log_model,
                fix="Pass True for the checkpoints that are there at the end of training.",
            )
        self._prefix = prefix
        self._log_model = log_model
        self._sent_models: dict[str, float] = {}
        self._checkpoint_callbacks: dict[str, ModelCheckpoint] = {}
        self._forget_service()

    def _forget_service(self) -> None:
        self._opening = threading.RLock()
        self._opened = threading.Event()

    @abstractmethod
    def _open(self) -> None:
        """Makes the run, or finds it, unless that is done; called in the background."""

    @abstractmethod
    def _send_model(self, model: SavedModel, kept: Kept) -> None:
        """Sends a checkpoint; called in the background."""

    def _open_once(self) -> None:
        with self._opening:
            if not self._opened.is_set():
                self._open()
                self._opened.set()

    @rank_zero_only
    def _wait_until_open(self) -> bool:
        """Has the run made, and waits for it.

        Returns:
            Whether there is one.
        """
        if self._opened.is_set():
            return True
        self._background.submit(self._open_once, records=0)
        end = time.monotonic() + self._background.patience
        while not self._background.has_failed and time.monotonic() < end:
            if self._opened.wait(0.02):
                break
        return self._opened.is_set()

    @rank_zero_only
    def log_graph(self, model: Module, input_array: Any = None) -> None:
        """Has the run made, where a Trainer begins; there is no graph.

        Args:
            model: Not used.
            input_array: Not used.
        """
        if self._background.is_on and not self._opened.is_set() and not self._background.has_failed:
            self._background.submit(self._open_once, records=0)

    def _with_prefix(self, metrics: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self._prefix:
            return metrics
        return {f"{self._prefix}{self.LOGGER_JOIN_CHAR}{name}": value for name, value in metrics.items()}

    def _save_soon(self) -> None:
        """Nothing is held back."""

    def _flush(self) -> None:
        """Nothing is held back."""

    def after_save_checkpoint(self, checkpoint_callback: Callback) -> None:
        """Sends the checkpoint with ``log_model="all"``, or notes it for the end of training.

        Args:
            checkpoint_callback: The callback that saved it.
        """
        callback = cast("ModelCheckpoint", checkpoint_callback)
        if self._log_model == "all" or (self._log_model and callback.save_top_k == -1):
            self._send_models(callback)
        elif self._log_model:
            self._checkpoint_callbacks[callback.state_key] = callback

    @rank_zero_only
    def _send_models(self, callback: ModelCheckpoint) -> None:
        for model in new_models(callback, self._sent_models):
            if not self._background.has_failed:
                self._background.submit(self._send_kept, model, Kept(model.path))

    def _send_kept(self, model: SavedModel, kept: Kept) -> None:
        self._open_once()
        self._send_model(model, kept)
        kept.drop()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Ends a run: sends everything, for `drain_timeout` seconds at most, and says what is left.

        Args:
            status: How the run ended.

        Raises:
            LoggingFailedError: If something could not be sent, and `on_failure` is ``"raise"``.
        """
        if status == "success":
            for callback in self._checkpoint_callbacks.values():
                self._send_models(callback)
        # Ctrl-C and SIGTERM come as exceptions that are no `Exception`.
        ended = sys.exc_info()[1]
        if status == "failed" and ended is not None and not isinstance(ended, Exception):
            status = "killed"
        super().finalize(status)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        state["_opening"] = state["_opened"] = None
        state["_checkpoint_callbacks"] = {}  # weak references, which cannot be pickled
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget_service()


def _is_refused_connection(error: Exception) -> bool:
    return isinstance(error, ConnectionRefusedError)
