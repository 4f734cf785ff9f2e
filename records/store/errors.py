"""The errors of the store.

StartupError              of the library; its text is one line for an operator
├── StoreUnavailable      of the fleet: does not answer, or not now; try again
└── WrongSchema           made by a version of Trunkline that is newer than this one
"""

from __future__ import annotations

from fleet.errors import StoreUnavailable
from trunkline.process.errors import StartupError

__all__ = ["NotStorable", "StoreUnavailable", "WrongSchema"]


class WrongSchema(StartupError):  # noqa: N818 - says what happened
    """This version cannot use what is in the store."""


class NotStorable(Exception):  # noqa: N818 - says what it is
    """The database refuses a value. The text names its kind, and not the value."""
