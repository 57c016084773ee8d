"""The way from a loader to the loop."""
