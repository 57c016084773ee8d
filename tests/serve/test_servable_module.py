from __future__ import annotations

import inspect

import pytest

from fulmen.serve.servable_module import ServableModule

from .served import Served


def test_all_four_methods_have_to_be_written() -> None:
    assert inspect.isabstract(ServableModule)
    names = ("configure_payload", "configure_response", "configure_serialization", "serve_step")
    assert set(names) == ServableModule.__abstractmethods__
    for missing in names:
        body = {name: getattr(Served, name) for name in names if name != missing}
        with pytest.raises(TypeError, match=missing):
            type("Part", (ServableModule,), body)()
