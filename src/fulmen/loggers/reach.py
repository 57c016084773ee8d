"""Whether anybody listens at an address."""

from __future__ import annotations

import socket
import urllib.parse
import urllib.request

# An answer that takes longer is left to the client to wait for.
_SECONDS = 2.0


def check_somebody_listens(uri: str) -> None:
    """Looks whether a connection to a server is refused, which its client may take minutes to tell.

    Args:
        uri: The address. Those that are not ``http`` or ``https``, and those behind a proxy, are taken as they are.

    Raises:
        ConnectionRefusedError: If the machine is there, and no server is.
    """
    parts = urllib.parse.urlsplit(uri)
    try:
        host, port = parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:  # no port that there could be, as the client will say
        return
    if parts.scheme not in ("http", "https") or not host or port is None:
        return
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
        return
    try:
        socket.create_connection((host, port), _SECONDS).close()
    except ConnectionRefusedError as error:
        raise ConnectionRefusedError(f"no server listens at {parts.scheme}://{host}:{port}") from error
    except (OSError, UnicodeError):
        pass
