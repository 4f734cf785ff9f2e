# ruff: noqa: N818  (the names say what happened; `except LeaseLost` needs no more)
"""The errors of this package.

    Exception
    ├── StartupError          of the library (`trunkline.process.errors`), with AddressInUse and
    │   │                     AddressUnusable; its text is one line for an operator
    │   ├── StoreUnavailable  the store does not answer, or refuses us
    │   │   └── NoMaster      behind sentinels: a failover may be under way
    │   └── DirectoryFull     every node index is held
    └── LeaseLost             another process owns the node index now
        └── Fenced            it was taken for dead, and others go on with its calls

No text carries a password: store errors name host and port only.
"""

from __future__ import annotations

from trunkline.process.errors import AddressInUse, AddressUnusable, StartupError

__all__ = [
    "AddressInUse",
    "AddressUnusable",
    "DirectoryFull",
    "Fenced",
    "LeaseLost",
    "NoMaster",
    "StartupError",
    "StoreUnavailable",
]


class StoreUnavailable(StartupError):
    """The store cannot be reached, does not answer in time, or refuses the credentials."""


class NoMaster(StoreUnavailable):
    """Behind sentinels nobody answers; during a failover that is so for some seconds."""


class DirectoryFull(StartupError):
    """No node index is free in this cluster."""


class LeaseLost(Exception):
    """The lease belongs to another owner, or its index had one since; stop using it."""


class Fenced(LeaseLost):
    """The owner of the lease was taken for dead: others may go on with its calls."""
