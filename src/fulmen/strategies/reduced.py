"""The parameters whose gradients backward brings together, and what torch says of them, in the user's words."""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fulmen.strategies.collectives import agree
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredRun

_SHOWN = 8


class Reduced:
    """The trained parameters of a model, as they are now.

    Args:
        model: The model.

    Attributes:
        names: Their names.
        parameters: They themselves, in the order in which ``DistributedDataParallel`` numbers them.
    """

    def __init__(self, model: nn.Module) -> None:
        ignored = set(getattr(model, "_ddp_params_and_buffers_to_ignore", ()))
        found = [
            (name.replace("_orig_mod.", ""), parameter)
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and name not in ignored
        ]
        self.names = [name for name, _ in found]
        self.parameters = [parameter for _, parameter in found]
        rows = (
            layer for layer in model.modules() if isinstance(layer, (nn.Embedding, nn.EmbeddingBag)) and layer.sparse
        )
        self._sparse = {id(layer.weight) for layer in rows}

    def nothing(self, order: Iterable[str] | None = None) -> Tensor:
        """A zero that all of them have a part in, so that backward reaches each.

        Args:
            order: Their names in the order in which backward shall do so; None for any.
        """
        known = dict(zip(self.names, self.parameters, strict=True))
        # Of what can be computed next, backward takes what was made last.
        parts = [self._touch(known[name]) for name in reversed([*(self.names if order is None else order)])]
        return torch.stack([part.to(parts[0]) for part in parts]).sum()

    def _touch(self, parameter: Tensor) -> Tensor:
        if id(parameter) in self._sparse:  # whose gradient everybody expects in rows
            row = torch.zeros(1, dtype=torch.int64, device=parameter.device)
            parameter = nn.functional.embedding(row, parameter, sparse=True)
        return parameter.flatten()[:1].sum() * 0

    def is_same(self, other: Reduced) -> bool:
        """Whether these are the very parameters of another one."""
        return list(map(id, self.parameters)) == list(map(id, other.parameters))

    def check(self) -> None:
        """Compares them over processes, before anything waits for gradients.

        Raises:
            MisconfigurationException: If they have no values yet, or differ between processes.
        """
        for name, parameter in zip(self.names, self.parameters, strict=True):
            if isinstance(parameter, nn.UninitializedParameter):
                raise MisconfiguredRun(
                    "Lazy layers get their shapes from a first batch, before training on several processes begins.",
                    got=f"`{name}` without a shape",
                    fix="Run the model once on an example in `configure_model` or `setup`, or give the layers their "
                    "sizes.",
                )
        shown = [f"{name} {str(p.dtype)[6:]}{list(p.shape)}" for name, p in zip(self.names, self.parameters)]
        forms = agree(shown, None, self.parameters[0].device)
        if forms is None:
            return
        lines = []
        for rank, form in enumerate(forms):
            others = set(forms[0] if rank else forms[-1])
            own = [one for one in form if one not in others]
            lines.append(f"rank {rank}: {len(form)} parameters{_some(own, ', among them ')}")
        raise MisconfiguredRun(
            "All processes train the same parameters, with the same names, shapes and types.",
            got="; ".join(lines),
            fix="Make the same model in every process: let nothing in `__init__`, `configure_model` and `setup` depend "
            "on the rank, and freeze the same parameters on each.",
        )

    def explain(self, error: RuntimeError, rank: int) -> MisconfigurationException | None:
        """What the user did, where torch has waited for gradients in vain; None if it complains of something else.

        Args:
            error: What torch says.
            rank: Of which process.
        """
        numbers = re.search(r"did not receive grad for rank \d+: ([\d ]+)", str(error))
        if numbers is None:
            return None
        missing = [self.names[int(number)] for number in numbers[1].split()]
        return MisconfiguredRun(
            "The loss did not depend on all parameters: with this strategy every process waits for the gradient of "
            "each one.",
            got=f"no gradient{_some(missing, ' for ')} on rank {rank}",
            fix='Pass `Trainer(strategy="ddp_find_unused_parameters_true")`, which looks at each step for those that '
            "it need not wait for; or freeze those that are never used with `requires_grad_(False)` before `fit`; or "
            "let the loss depend on all of them in every batch.",
        )

    def explain_change(self, model: nn.Module) -> MisconfigurationException | None:
        """What the user did, where other parameters are trained now than those that are brought together."""
        now = Reduced(model)
        if now.is_same(self):
            return None
        known, later = set(map(id, self.parameters)), set(map(id, now.parameters))
        added = [name for name, one in zip(now.names, now.parameters, strict=True) if id(one) not in known]
        left = [name for name, one in zip(self.names, self.parameters, strict=True) if id(one) not in later]
        what = [
            f"{words}{_some(names, ': ')}" for words, names in (("new", added), ("no longer trained", left)) if names
        ]
        return MisconfiguredRun(
            "Which parameters are trained is settled when an epoch begins: the gradients of those that come later "
            "would stay different on each process.",
            got="; ".join(what) or "the same parameters in another order",
            fix="Make parameters in `__init__`, `configure_model` or `setup`, and freeze or unfreeze them in "
            "`on_train_epoch_start` at the latest.",
        )


def wrapped(model: nn.Module, reduced: Reduced, **options: object) -> DistributedDataParallel:
    """Puts a model into ``DistributedDataParallel``, once it is sure that all processes can.

    Args:
        model: The model.
        reduced: Its parameters.
        **options: For ``DistributedDataParallel``.
    """
    reduced.check()
    return DistributedDataParallel(model, **options)  # type: ignore[arg-type]


def _some(names: list[str], before: str) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{before}{', '.join(f'`{name}`' for name in names[:_SHOWN])}{more}"
