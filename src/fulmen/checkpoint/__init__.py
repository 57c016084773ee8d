"""What a run's state is, how it gets to disk and back."""
