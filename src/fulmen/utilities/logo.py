"""The mark of Fulmen, for terminals."""

from __future__ import annotations

_LOGO = r"""
        ______
       /     /   fulmen
      /     /
     /     /____
    /___       /
       /     /
      /   /
     / /
    /
"""


def cli_lightning_logo() -> None:
    """Prints the mark of Fulmen."""
    print(_LOGO)
