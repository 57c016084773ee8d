"""Hyper-parameters of modules and data modules: the arguments of ``__init__``, kept and put into checkpoints."""

from __future__ import annotations

import argparse
import copy
import inspect
from collections.abc import Iterable, MutableMapping
from types import FrameType
from typing import Any

from torch import nn

from fulmen.utilities.exceptions import MisconfiguredValue
from fulmen.utilities.parsing import AttributeDict, is_being_made, save_hyperparameters


class HyperparametersMixin:
    """Gives a class :meth:`save_hyperparameters` and :attr:`hparams`.

    Example:
        >>> class Model(HyperparametersMixin):
        ...     def __init__(self, width, lr=0.1):
        ...         self.save_hyperparameters()
        >>> Model(32).hparams
        "lr":    0.1
        "width": 32
    """

    _log_hyperparams = False
    _hparams: MutableMapping[str, Any]
    _hparams_initial: MutableMapping[str, Any]

    def save_hyperparameters(
        self,
        *args: Any,
        ignore: Iterable[str] | str | None = None,
        frame: FrameType | None = None,
        logger: bool = True,
    ) -> None:
        """Keeps arguments of ``__init__`` in :attr:`hparams`; checkpoints hold them, and loggers show them.

        Call it in ``__init__``. Called by a class and by its subclass, it collects the arguments of both.

        Args:
            *args: Names of arguments; or one dictionary or ``argparse.Namespace`` that holds the hyper-parameters.
                All arguments where nothing is named.
            ignore: Names to leave out, for example of modules and loss functions.
            frame: The frame of ``__init__``, where this is called from elsewhere.
            logger: Whether loggers show them.

        Raises:
            MisconfigurationException: If a name is no argument of ``__init__``.
            MisconfiguredValue: If an object holds no names with values.
        """
        self._log_hyperparams = logger
        if frame is None:
            current = inspect.currentframe()
            frame = current.f_back if current is not None else None
        save_hyperparameters(self, *args, ignore=ignore, frame=frame)

    @property
    def hparams(self) -> Any:
        """The hyper-parameters, as keys and as attributes; changes go into later checkpoints.

        A dictionary or ``argparse.Namespace`` that ``__init__`` assigns is saved as by :meth:`save_hyperparameters`.
        """
        if not hasattr(self, "_hparams"):
            self._hparams = AttributeDict()
        return self._hparams

    @hparams.setter
    def hparams(self, hp: Any) -> None:
        current = inspect.currentframe()
        frame = current.f_back if current is not None else None
        if not is_being_made(self, frame):
            raise AttributeError(
                f"`hparams` of a `{type(self).__name__}` is assigned in `__init__` alone.\n"
                "What to do: Write `model.hparams.update(...)`, or `model.save_hyperparameters(...)` of a dictionary."
            )
        if isinstance(hp, str):
            self._to_hparams_dict(hp)  # raises: here it is no name of an argument
        self._log_hyperparams = True
        save_hyperparameters(self, hp, frame=frame)

    @property
    def hparams_initial(self) -> Any:
        """A copy of the hyper-parameters as they were saved, whatever became of :attr:`hparams`."""
        return _copied(self._hparams_initial) if hasattr(self, "_hparams_initial") else AttributeDict()

    def remove_ignored_hparams(self, ignore_list: Iterable[str]) -> None:
        """Drops hyper-parameters.

        Args:
            ignore_list: Their names; those that are not there do not matter.
        """
        for name in ignore_list:
            self.hparams.pop(name, None)

    def _set_hparams(self, hp: Any) -> None:
        hparams = self._to_hparams_dict(hp)
        if isinstance(hparams, dict) and isinstance(self.hparams, dict):
            self.hparams.update(hparams)
        else:
            self._hparams = hparams

    def _keep_initial_hparams(self) -> None:
        self._hparams_initial = _copied(self._hparams)

    @staticmethod
    def _to_hparams_dict(hp: Any) -> MutableMapping[str, Any]:
        if isinstance(hp, argparse.Namespace):
            hp = vars(hp)
        if isinstance(hp, dict):
            return AttributeDict(hp)
        if isinstance(hp, MutableMapping):
            return hp
        raise MisconfiguredValue(
            "`save_hyperparameters` takes names of arguments, or an object that holds values by name.",
            got=f"{hp!r} ({type(hp).__name__})",
            fix="Pass the argument's name, as in `self.save_hyperparameters('lr')`; or a dict or `argparse.Namespace` "
            "(`dataclasses.asdict(config)` of a data class).",
        )


def _copied(hparams: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A copy that later changes do not reach; what cannot be copied, or is large (modules), is shared."""
    if not isinstance(hparams, AttributeDict):
        return copy.deepcopy(hparams)
    return AttributeDict((name, _copied_value(value)) for name, value in hparams.items())


def _copied_value(value: Any) -> Any:
    if isinstance(value, nn.Module):
        return value
    try:
        return copy.deepcopy(value)
    except Exception:  # whatever a foreign `__deepcopy__` raises
        return value
