"""What a process shares with the other processes of its Pod, and what is its own."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fleet.calls.owner import Owner
from transceiver.settings import TransceiverSettings
from trunkline.process.address import Address


def _nothing() -> None:
    pass


def _ignore(_owner: Owner | None) -> None:
    pass


@dataclass(frozen=True)
class PodPlace:
    """Process `index` of `count`. The default is a process by itself.

    `http_sockets` are bound and shared by all, `directory` holds a Unix socket of each, on which
    they ask each other; `up` is called when callers may come, `is_node` with the node that the
    process is from now on (None: none).
    """

    index: int = 0
    count: int = 1
    http_sockets: Sequence[socket.socket] = ()
    directory: Path | None = None
    up: Callable[[], None] = _nothing
    is_node: Callable[[Owner | None], None] = _ignore

    def socket_of(self, index: int) -> Path | None:
        """Where a process hears its neighbours; None for a process by itself."""
        return self.directory / f"{index}.http" if self.directory is not None else None

    def own(self, settings: TransceiverSettings) -> TransceiverSettings:
        """The pod's settings as this process has them: ports of its own, in sequence."""
        trunk, admin = settings.transceiver_trunk, settings.transceiver_admin
        advertise = settings.transceiver_trunk_advertise
        return settings.model_copy(
            update={
                "transceiver_trunk": self._shifted(trunk),
                "transceiver_admin": self._shifted(admin),
                "transceiver_trunk_advertise": advertise and self._shifted(advertise),
            }
        )

    def _shifted(self, address: Address) -> Address:
        # Port 0 is any free one, and for the advertised address the one that was bound.
        return Address(address.host, address.port + self.index if address.port else 0)


ALONE = PodPlace()
