from __future__ import annotations

import httpx
import pytest

from fulmen.serve.http_server import Application, served
from fulmen.utilities.exceptions import MisconfigurationException

from .served import Served


def test_requests_of_all_kinds() -> None:
    """One after the other: an error does not stay for the next."""
    application = Application(Served())
    with served(application.app, "127.0.0.1", 0, 20) as address, httpx.Client(trust_env=False) as client:
        assert client.get(f"{address}/ping").json() is True
        broken = client.post(f"{address}/serve", json={"body": {}})
        assert broken.status_code == 500 and broken.json() == {"detail": "KeyError: 'x'"}
        assert isinstance(application.error, KeyError)
        module = Served().eval()
        application._module = module
        answer = client.post(f"{address}/serve", json={"body": {"x": [[3.0]]}})
        assert answer.json() == {"output": [[6.0]]}
        assert client.post(f"{address}/serve", content=b"no json").status_code == 422


def test_a_server_that_does_not_start() -> None:
    with (
        pytest.raises(MisconfigurationException, match=r"timeout=60\)`, if the machine is slow"),
        served("nowhere:app", "127.0.0.1", 0, 20),
    ):
        pass
