"""Descriptors kept for the moment when there are no others.

A relay at its limit (a flood of connections to an open admin port) must still be able to replace a
worker, and to start a process takes some ten descriptors.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

KEPT = 16
_AT_THE_LIMIT = frozenset({errno.EMFILE, errno.ENFILE})

Made = TypeVar("Made")


class Reserve:
    """Some descriptors of nothing. Raises OSError when there are none to begin with."""

    def __init__(self) -> None:
        self._held: list[int] = []
        self._refill()

    def make(self, make: Callable[[], Made]) -> Made:
        """What `make` makes, with the reserve's descriptors if there are no others."""
        self.refill()
        try:
            return make()
        except OSError as error:
            if error.errno not in _AT_THE_LIMIT:
                raise
        self.close()
        try:
            return make()
        finally:
            self.refill()

    def refill(self) -> None:
        """Hold as many as can be had again."""
        with suppress(OSError):
            self._refill()

    def close(self) -> None:
        """Let all go."""
        while self._held:
            os.close(self._held.pop())

    def _refill(self) -> None:
        while len(self._held) < KEPT:
            self._held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
