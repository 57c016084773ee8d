"""``SaveConfigCallback``: writes the configuration of a run beside its logs."""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING, Any

from fulmen.callbacks.callback import Callback
from fulmen.utilities.exceptions import MisconfiguredRun
from fulmen.utilities.whole_files import remote

if TYPE_CHECKING:
    from fulmen.cli.parser import LightningArgumentParser
    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer


class SaveConfigCallback(Callback):
    """Writes the configuration of a run when it begins.

    Override :meth:`save_config` to keep it elsewhere, for example to send it to a logger.

    Args:
        parser: The parser of the command line.
        config: The configuration.
        config_filename: The name of the file.
        overwrite: Whether a file that is there already may be replaced.
        multifile: Whether parts that came from files of their own are written to files of their own.
        save_to_log_dir: Whether to write into the folder of the logger; False leaves it to :meth:`save_config`.
    """

    def __init__(
        self,
        parser: LightningArgumentParser,
        config: Any,
        config_filename: str = "config.yaml",
        overwrite: bool = False,
        multifile: bool = False,
        save_to_log_dir: bool = True,
    ) -> None:
        self.parser = parser
        self.config = config
        self.config_filename = config_filename
        self.overwrite = overwrite
        self.multifile = multifile
        self.save_to_log_dir = save_to_log_dir
        self.already_saved = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Writes the file, the first time that a run begins.

        Raises:
            MisconfiguredRun: If the file is there already and may not be replaced.
        """
        if self.already_saved:
            return
        if self.save_to_log_dir:
            self._save(trainer)
        if trainer.is_global_zero:
            self.save_config(trainer, pl_module, stage)
        self.already_saved = trainer.strategy.broadcast(True)

    def _save(self, trainer: Trainer) -> None:
        folder = trainer.log_dir  # asked on every process, since they agree on it
        if folder is None:
            raise MisconfiguredRun(
                "The configuration is saved in the folder of the logs, and there is none.",
                fix="`Trainer(default_root_dir=...)`, or `LightningCLI(save_config_callback=None)`.",
            )
        filesystem, inner = remote(folder)
        path = os.path.join(folder, self.config_filename)
        there = not self.overwrite and self._is_another(filesystem, os.path.join(inner, self.config_filename))
        if trainer.strategy.broadcast(there):
            raise MisconfiguredRun(
                "The configuration of an earlier run is not overwritten, as the logs of both would be mixed.",
                got=path,
                fix="Log to another folder (`--trainer.default_root_dir`, or the logger's), delete the file, or allow "
                "it: "
                '`LightningCLI(save_config_kwargs={"overwrite": True})`; `LightningCLI(save_config_callback=None)` '
                "saves none.",
            )
        if trainer.is_global_zero:
            filesystem.makedirs(inner, exist_ok=True)
            options: dict[str, Any] = {"overwrite": True, "multifile": self.multifile}
            self.parser.save(self.config, path, **unset_kept(self.parser), **options)

    def _is_another(self, filesystem: Any, path: str) -> bool:
        """Whether there is a file that says something else: a run that is started again may find its own."""
        if not filesystem.isfile(path):
            return False
        with filesystem.open(path, "r") as file:
            there: str = file.read()
        said: str = self.parser.dump(self.config, **unset_kept(self.parser))
        return there != said

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Called on rank 0 after the file was written, with :attr:`config` there to be kept elsewhere as well.

        Args:
            trainer: The Trainer.
            pl_module: The module.
            stage: ``"fit"``, ``"validate"``, ``"test"`` or ``"predict"``.
        """


def unset_kept(parser: Any) -> dict[str, bool]:
    """The option of `save` and `dump` that keeps values of None; its name has changed between versions."""
    # a method that is replaced for compatibility keeps the one with the signature
    method = getattr(parser, "_unpatched_dump", parser.dump)
    return {"skip_unset" if "skip_unset" in inspect.signature(method).parameters else "skip_none": False}
