"""What the launcher raises.

LauncherError
├── StartupError      a part could not be started; the text is the one line for the user
└── NotRunningError   a part was asked for its process and has none
"""

from __future__ import annotations


class LauncherError(Exception):
    """The root of the tree above."""


class StartupError(LauncherError):
    """A part could not be started; `str()` is one line that begins with the part's name."""


class NotRunningError(LauncherError):
    """The part has no live process: it was stopped, or died and waits for its restart."""
