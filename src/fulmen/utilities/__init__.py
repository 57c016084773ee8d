"""Small things that everything else may use, and that use nothing of Fulmen."""
