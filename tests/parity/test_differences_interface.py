"""Where Fulmen's interface differs from Lightning's on purpose: rows 80 to 89 of ``docs/differences.md``."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch

from .differing import both


def test_a_step_without_a_closure(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 80. Where backward has run, the step is SGD's: weights minus rate times gradient."""

    def script(pl: Any) -> Any:
        layer = torch.nn.Linear(1, 1, bias=False)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
        layer(torch.full((1, 1), 3.0)).sum().backward()
        expected = layer.weight.detach() - 0.5 * 3.0
        steps = (
            lambda: pl.plugins.Precision().optimizer_step(optimizer, model=layer),
            lambda: pl.strategies.SingleDeviceStrategy().optimizer_step(optimizer),
        )
        found = []
        for step in steps:
            torch.nn.init.constant_(layer.weight, float(expected) + 1.5)
            try:
                step()
            except TypeError as error:
                found.append("closure" in str(error))
            else:
                found.append(bool(torch.allclose(layer.weight, expected)))
        return found

    theirs, ours = both(lightning, fulmen, script)
    assert theirs == [True, True]  # each says that `closure` is missing
    assert ours == [True, True]
    with pytest.raises(TypeError, match="closure"):
        lightning.plugins.Precision().optimizer_step(None, model=None)
