"""Connections that end though the process goes on."""

from __future__ import annotations

import socket

from fulmen.strategies.connections import shut, sockets


def test_connections_end_but_for_those_of_a_port() -> None:
    before = sockets()
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_server(("127.0.0.1", 0)) as spared:
        pairs = []
        for server in (listening, spared):
            near = socket.create_connection(server.getsockname())
            pairs.append((near, server.accept()[0]))
        new = {one: inode for one, inode in sockets().items() if one not in before}
        assert len(new) == 6
        (near, far), (near_spared, far_spared) = pairs
        shut(dict.fromkeys(new, 0), 0)  # the numbers stand for other sockets by now
        near.sendall(b"x")
        assert far.recv(1) == b"x"
        shut(new, spared.getsockname()[1])
        far.settimeout(10)
        assert far.recv(1) == b""
        near_spared.sendall(b"x")
        assert far_spared.recv(1) == b"x"
        for one in (near, far, near_spared, far_spared):
            one.close()
        shut(new, 0)  # they are closed
