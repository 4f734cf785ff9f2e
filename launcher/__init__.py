"""Starts a whole Trunkline on one machine, under one supervisor with one log."""

from launcher.errors import LauncherError, NotRunningError, StartupError
from launcher.stack import Stack, StackSettings

__all__ = ["LauncherError", "NotRunningError", "Stack", "StackSettings", "StartupError"]
