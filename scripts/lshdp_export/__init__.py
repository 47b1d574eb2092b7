# Writes a chain of PyTorch modules as one file that `lshdp --model` reads. See docs/own-models.md.
"""Writes a chain of PyTorch modules as one file that `lshdp --model` reads. See docs/own-models.md."""
from . import blocks
from .exporting import export
from .refusal import Refused

__all__ = ["Refused", "blocks", "export"]
