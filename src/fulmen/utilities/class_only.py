"""Methods that belong to the class and not to its instances."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from fulmen.utilities.exceptions import MisconfiguredType

if TYPE_CHECKING:
    class_only = classmethod
else:

    class class_only(classmethod):
        """A class method that an instance refuses, because a caller would expect the instance to change."""

        def __get__(self, instance: Any, owner: type | None = None) -> Callable[..., Any]:
            method = super().__get__(instance, owner)
            if instance is None:
                return method

            @wraps(self.__func__)
            def refuse(*args: Any, **kwargs: Any) -> Any:
                name = f"{type(instance).__name__}.{self.__func__.__name__}"
                raise MisconfiguredType(
                    f"`{name}` makes a new object and cannot be called on an instance.",
                    fix=f"Call it on the class, and keep what it returns: `model = {name}(...)`.",
                )

            return refuse
