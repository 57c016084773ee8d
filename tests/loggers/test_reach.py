from __future__ import annotations

import socket

import pytest
from tests.loggers.mlflow_server import free_port

from fulmen.loggers.reach import check_somebody_listens


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_only_a_refused_connection_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        check_somebody_listens(f"http://127.0.0.1:{server.getsockname()[1]}/path")
    with pytest.raises(ConnectionRefusedError, match=r"no server listens at http://127\.0\.0\.1:\d+$"):
        check_somebody_listens(f"http://user:secret@127.0.0.1:{free_port()}/path")


@pytest.mark.parametrize("uri", ["sqlite:///runs.db", "databricks", "file:runs", "http://127.0.0.1:99999", "http://"])
def test_what_is_no_address_of_a_server_is_left_alone(uri: str) -> None:
    check_somebody_listens(uri)


def test_behind_a_proxy_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    check_somebody_listens(f"http://127.0.0.1:{free_port()}")
