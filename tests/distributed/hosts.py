"""Two hosts on one machine: network namespaces of their own, joined by a cable."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ADDRESSES = ("10.211.7.1", "10.211.7.2")


def why_not() -> str:
    """Why there can be no second host here; empty if there can."""
    if shutil.which("ip") is None:
        return "there is no `ip` command"
    name = f"fulmen-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode:
        return f"network namespaces are not allowed here: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", name], check=True)
    return ""


class Host:
    """One of two hosts.

    Args:
        name: The network namespace.
        address: Its address.
        device: Its end of the cable.
    """

    def __init__(self, name: str, address: str, device: str) -> None:
        self.name = name
        self.address = address
        self.device = device

    def start(self, command: list[str], environment: dict[str, str], **options: Any) -> subprocess.Popen[bytes]:
        """Starts a process on this host, which sees none of the other's processes."""
        told = {"GLOO_SOCKET_IFNAME": self.device, "TP_SOCKET_IFNAME": self.device}
        return subprocess.Popen(
            ["ip", "netns", "exec", self.name, "unshare", "--pid", "--fork", "--kill-child", *command],
            env={**os.environ, **environment, **told}, start_new_session=True, **options,
        )  # fmt: skip


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Two hosts for the length of a block; what runs there is killed at its end."""
    token = f"{os.getpid() % 10000}{time.monotonic_ns() % 1000}"
    hosts = [
        Host(f"fulmen-{token}-{number}", address, f"fm{token}{number}") for number, address in enumerate(ADDRESSES)
    ]
    made: list[Host] = []
    try:
        for host in hosts:
            _ip("netns", "add", host.name)
            made.append(host)
        first, second = hosts
        _ip("link", "add", first.device, "type", "veth", "peer", "name", second.device)
        for host in hosts:
            _ip("link", "set", host.device, "netns", host.name)
            _ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", host.device)
            _ip("-n", host.name, "link", "set", host.device, "up")
            _ip("-n", host.name, "link", "set", "lo", "up")
        yield first, second
    finally:
        for host in made:
            pids = subprocess.run(["ip", "netns", "pids", host.name], capture_output=True, text=True).stdout.split()
            for pid in pids:
                subprocess.run(["kill", "-9", pid], capture_output=True)
            subprocess.run(["ip", "netns", "delete", host.name])


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
