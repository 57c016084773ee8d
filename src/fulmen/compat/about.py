"""What ``pytorch_lightning.__about__`` says."""

from __future__ import annotations

from fulmen.compat.paths import VERSION

__version__ = VERSION
__author__ = "The Fulmen authors"
__license__ = "Apache-2.0"
__docs__ = "The training interface people know from PyTorch Lightning, at the cost of a hand-written loop."
