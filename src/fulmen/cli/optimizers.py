"""Optimizers and schedulers of the command line: linked to arguments, or made the module's own."""

from __future__ import annotations

from functools import partial
from types import MethodType
from typing import TYPE_CHECKING, Any

from fulmen.cli.parser import AUTOMATIC
from fulmen.core.class_paths import instantiate_class
from fulmen.core.module import LightningModule, overridden
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.rank_zero import rank_zero_warn

if TYPE_CHECKING:
    from collections.abc import Callable

    from fulmen.cli.parser import LightningArgumentParser


def link(parser: LightningArgumentParser) -> None:
    """Links the optimizers and schedulers that have a target to it.

    Args:
        parser: The parser.
    """
    for key, (cls, target) in {**parser._optimizers, **parser._lr_schedulers}.items():
        if target != AUTOMATIC:
            parser.link_arguments(key, target, compute_fn=None if isinstance(cls, tuple) else partial(named, cls))


def named(cls: type, settings: Any) -> dict[str, Any]:
    """The settings of a class with its name.

    Args:
        cls: The class.
        settings: The values of its arguments.

    Returns:
        As ``{"class_path": "torch.optim.Adam", "init_args": {"lr": 0.1}}``.
    """
    values = settings.as_dict() if hasattr(settings, "as_dict") else dict(settings)
    return {"class_path": f"{cls.__module__}.{cls.__qualname__}", "init_args": values}


def automatic(parser: LightningArgumentParser, owner: str) -> tuple[str | None, str | None]:
    """The keys of the optimizer and of the scheduler that are to be the module's.

    Args:
        parser: The parser.
        owner: The name of the command line's class.

    Returns:
        The two keys; None for one that is not there.

    Raises:
        MisconfigurationException: If there are several.
    """
    found = [
        [key for key, (_, target) in group.items() if target == AUTOMATIC]
        for group in (parser._optimizers, parser._lr_schedulers)
    ]
    if any(len(keys) > 1 for keys in found):
        raise MisconfigurationException(
            "One optimizer and one scheduler can be made the module's without being asked for.",
            got=f"{found[0] + found[1]} in `{owner}.add_arguments_to_parser`",
            fix='Link each to an argument of the module, `parser.add_optimizer_args(Adam, "generator", '
            'link_to="model.generator")`, and make them in `configure_optimizers` with `instantiate_class`.',
        )
    optimizer, scheduler = (keys[0] if keys else None for keys in found)
    return optimizer, scheduler


def configure(model: LightningModule, function: Callable[..., Any], optimizer: Any, scheduler: Any, owner: str) -> None:
    """Gives a module optimizers of settings.

    Args:
        model: The module.
        function: What `configure_optimizers` returns, of the module, an optimizer and a scheduler.
        optimizer: The settings of the optimizer.
        scheduler: The settings of the scheduler, or None.
        owner: The name of the command line's class.
    """
    if overridden(model, "configure_optimizers", LightningModule) is not None:
        rank_zero_warn(
            f"`{type(model).__name__}.configure_optimizers` is replaced by `{owner}.configure_optimizers`, since an "
            "optimizer was given on the command line."
        )

    def configure_optimizers(module: LightningModule) -> Any:
        # Not made earlier: parameters may come with `configure_model`.
        made = instantiate_class(module.parameters(), optimizer)
        schedule = None if scheduler is None else instantiate_class(made, scheduler)
        return function(module, optimizer=made, lr_scheduler=schedule)

    model.configure_optimizers = MethodType(configure_optimizers, model)  # type: ignore[method-assign]


def settings_of(cls: Any, value: Any) -> dict[str, Any] | None:
    """The settings of an optimizer or scheduler, with the name of its class.

    Args:
        cls: The class that there is, or a tuple of those to choose from.
        value: What was parsed.

    Returns:
        The settings; None where none was chosen.
    """
    if value is None:
        return None
    if not isinstance(cls, tuple):
        return named(cls, value)
    chosen: dict[str, Any] = value.as_dict() if hasattr(value, "as_dict") else dict(value)
    return chosen
