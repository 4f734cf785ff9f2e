"""Who has a call: a process, by the node index and the epoch that it holds."""

from __future__ import annotations

from typing import NamedTuple

from fleet.directory.directory import Node


class Owner(NamedTuple):
    """A process as relays know it; both numbers are 0 to 65535 (`wire.token`)."""

    node: int
    epoch: int

    @classmethod
    def of(cls, node: Node) -> Owner:
        """The process that the directory has under that index."""
        return cls(node.index, node.epoch)

    @property
    def sender(self) -> int:
        """As the trunk names it."""
        return self.node << 16 | self.epoch

    def __str__(self) -> str:
        return f"{self.node}:{self.epoch}"
