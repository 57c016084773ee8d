"""As the first line of a program, ``import fulmen.as_lightning`` lets Lightning's import names mean Fulmen."""

from __future__ import annotations

from fulmen.compat.alias import install

install()
