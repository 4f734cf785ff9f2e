"""Starts a whole Trunkline on one machine, under one supervisor with one log."""

from launcher.errors import NotRunningError, StartupError
from launcher.stack import Stack, StackSettings

__all__ = ["NotRunningError", "Stack", "StackSettings", "StartupError"]
