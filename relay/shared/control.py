"""The messages between supervisor and worker, over a SOCK_SEQPACKET pair.

One JSON object a message, with descriptors beside it. Keys go this way and not through the
environment, where other processes of the same user could read them.
"""

from __future__ import annotations

import array
import json
import socket
from collections.abc import Sequence
from typing import Any

MAX_MESSAGE_BYTES = 64 * 1024
MAX_FDS = 253  # what the kernel takes beside one message (SCM_MAX_FD)

Message = dict[str, Any]


def send(channel: socket.socket, message: Message, fds: Sequence[int] = ()) -> None:
    """Send one message without waiting; raises OSError (EAGAIN from a peer that does not read)."""
    # Not `socket.send_fds`: it takes flags and does not pass them on.
    beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    channel.sendmsg([json.dumps(message).encode()], beside, socket.MSG_DONTWAIT)


def receive(channel: socket.socket) -> tuple[Message, list[int]] | None:
    """The next message and its descriptors; None when the peer is gone."""
    data, fds, _, _ = socket.recv_fds(channel, MAX_MESSAGE_BYTES, MAX_FDS)
    if not data:
        return None
    message: Message = json.loads(data)
    return message, fds
