"""The messages between supervisor and worker, over a SOCK_SEQPACKET pair.

One JSON object a message, with descriptors beside it. Keys go this way and not through the
environment, where other processes of the same user could read them.
"""

from __future__ import annotations

import array
import json
import os
import socket
from collections.abc import Sequence
from typing import Any

MAX_MESSAGE_BYTES = 64 * 1024
MAX_FDS = 253  # what the kernel takes beside one message (SCM_MAX_FD)

MAX_NUMBER = 2**63 - 1

Message = dict[str, Any]

_CUT = socket.MSG_TRUNC | socket.MSG_CTRUNC


class BadMessage(ValueError):  # noqa: N818 - what came, not what went wrong here
    """Bytes that are no message, or descriptors that did not fit; none of them is left open."""


def send(channel: socket.socket, message: Message, fds: Sequence[int] = ()) -> None:
    """Send one message without waiting; raises OSError (EAGAIN from a peer that does not read)."""
    # Not `socket.send_fds`: it takes flags and does not pass them on.
    beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    channel.sendmsg([json.dumps(message).encode()], beside, socket.MSG_DONTWAIT)


def try_send(channel: socket.socket, message: Message, fds: Sequence[int] = ()) -> bool:
    """`send`; False when the peer is gone or does not read."""
    try:
        send(channel, message, fds)
    except OSError:
        return False
    return True


def receive(channel: socket.socket) -> tuple[Message, list[int]] | None:
    """The next message and its descriptors; None when the peer is gone.

    Raises OSError, and BadMessage for one that cannot be read or was cut; the next may be good.
    """
    data, fds, flags, _ = socket.recv_fds(channel, MAX_MESSAGE_BYTES, MAX_FDS)
    if not data and not fds:
        return None
    message = None if flags & _CUT else _object(data)
    if message is None:
        for fd in fds:
            os.close(fd)
        raise BadMessage("no message, or one that was cut")
    return message, fds


def number(message: Message, key: str, least: int = 0, most: int = MAX_NUMBER) -> int:
    """A whole number of a message. Raises BadMessage when it is not there or not within."""
    value = message.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadMessage(f"{key} is not a number from {least} to {most}")
    return value


def _object(data: bytes) -> Message | None:
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):  # the second: it nests too deep
        return None
    return message if isinstance(message, dict) else None
