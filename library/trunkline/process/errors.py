# ruff: noqa: N818  (the names say what happened)
"""What keeps a process from running.

Exception
└── StartupError          a process cannot start or go on; its text is one line for an operator
    ├── AddressInUse      another process listens there
    └── AddressUnusable   not an address of this machine, or not ours to bind
"""

from __future__ import annotations


class StartupError(Exception):
    """What keeps a process from running, in one line fit for stderr."""


class AddressInUse(StartupError):
    """Another process listens on the address (EADDRINUSE)."""


class AddressUnusable(StartupError):
    """The address cannot be bound here: unknown host, not local, or a privileged port."""
