"""``fulmen migrate``: what is old in a code base, how it is written today, rewritten where that keeps the meaning."""
