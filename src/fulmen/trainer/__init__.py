"""The Trainer and what happens around its loops."""
