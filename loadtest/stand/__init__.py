"""A whole fleet on this machine: several of each process, and a Redis that can fail over."""

from loadtest.stand.shape import Shape
from loadtest.stand.stand import Stand

__all__ = ["Shape", "Stand"]
