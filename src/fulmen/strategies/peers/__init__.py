"""Who among the processes of a run is alive, who has failed, and where all stop."""

from __future__ import annotations

from fulmen.utilities.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Fault": "fulmen.strategies.peers.faults",
        "PeerFailed": "fulmen.strategies.peers.faults",
        "Peers": "fulmen.strategies.peers.peers",
    },
)
