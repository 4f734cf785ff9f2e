"""What the launcher raises.

StartupError      of the library (`trunkline.process.errors`): a part could not be started; its text
                  is one line for the user, and begins with the part's name
NotRunningError   a part was asked for its process and has none
"""

from __future__ import annotations

from trunkline.process.errors import StartupError

__all__ = ["NotRunningError", "StartupError"]


class NotRunningError(Exception):
    """The part has no live process: it was stopped, or died and waits for its restart."""
