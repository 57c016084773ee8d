"""Checkpoints of earlier versions of PyTorch Lightning, brought to the layout of today."""
