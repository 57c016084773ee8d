"""The connections of a group of processes, which end when a run fails though the process goes on."""

from __future__ import annotations

import os
import socket


def sockets() -> dict[int, int]:
    """The sockets of this process, each with what tells it from later ones; none where the system does not say."""
    found = {}
    try:
        names = os.listdir("/proc/self/fd")
    except OSError:
        return {}
    for name in names:
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                found[int(name)] = os.fstat(int(name)).st_ino
        except OSError:  # closed by now
            pass
    return found


def shut(found: dict[int, int], spared_port: int) -> None:
    """Ends connections to other processes, so that nobody there waits for this one any more.

    Args:
        found: Sockets of this process, as `sockets` gives them; what has been closed since is left out.
        spared_port: Connections with this port at one end stay.
    """
    for number, inode in found.items():
        try:
            if os.fstat(number).st_ino != inode:
                continue
            with socket.socket(fileno=os.dup(number)) as connection:
                if connection.family in (socket.AF_INET, socket.AF_INET6):
                    ports = (connection.getsockname()[1], connection.getpeername()[1])
                    if spared_port not in ports:
                        connection.shutdown(socket.SHUT_RDWR)
        except OSError:  # closed, or it only listens
            pass
