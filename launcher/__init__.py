"""Starts a whole Trunkline on one machine, under one supervisor with one log."""

import fleet.extras  # noqa: F401 - first: it says what to install when an import below fails

# isort: split
from launcher.errors import NotRunningError, StartupError
from launcher.stack import Stack, StackSettings

__all__ = ["NotRunningError", "Stack", "StackSettings", "StartupError"]
