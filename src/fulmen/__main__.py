"""``python -m fulmen`` is the command ``fulmen``."""

from __future__ import annotations

from fulmen.cli.command import main

if __name__ == "__main__":
    main()
