"""What a module says of itself so that it can be served."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class ServableModule(ABC, nn.Module):
    """Says how a request becomes tensors, what is computed of them, and how that becomes a response.

    Example:
        >>> import torch
        >>> from fulmen.demos.boring_classes import BoringModel
        >>> class Served(ServableModule, BoringModel):
        ...     def configure_payload(self):
        ...         return {"body": {"x": [0.0] * 32}}
        ...     def configure_serialization(self):
        ...         return {"x": torch.tensor}, {"output": torch.Tensor.tolist}
        ...     def serve_step(self, x):
        ...         return {"output": self(x) * 0}
        ...     def configure_response(self):
        ...         return {"output": [0.0, 0.0]}
        >>> Served().configure_response()
        {'output': [0.0, 0.0]}
    """

    @abstractmethod
    def configure_payload(self) -> dict[str, Any]:
        """A request to try the module with: a dictionary with the inputs, by name, under ``"body"``."""

    @abstractmethod
    def configure_serialization(self) -> tuple[dict[str, Callable[[Any], Any]], dict[str, Callable[[Any], Any]]]:
        """How values become tensors and back.

        Returns:
            For each input of :meth:`serve_step` what makes it of the request's value; and for each of its outputs what
            makes the response's value of it.
        """

    @abstractmethod
    def serve_step(self, *args: Tensor, **kwargs: Tensor) -> dict[str, Tensor]:
        """Answers a request.

        Args:
            *args: Nothing.
            **kwargs: The inputs, by name.

        Returns:
            The outputs, by name.
        """

    @abstractmethod
    def configure_response(self) -> dict[str, Any]:
        """The response that the request of :meth:`configure_payload` must get."""
