"""What raised in a worker: counted, said to the supervisor in one line now and then, and survived.

A bug that one packet meets would end every worker in turn, because whoever sends it will send it
again. So what raises costs the packet, and the worker goes on. What is said names the place and the
kind of the exception and nothing else: its text may hold what a caller sent.
"""

from __future__ import annotations

import socket
from types import TracebackType

from relay.shared import control
from relay.shared.counters import Counter, Counts
from relay.shared.fault_message import fault_message

TELL_INTERVAL_S = 10.0  # between two lines of one worker


class Faults:
    """The faults of one worker."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._untold = ""
        self._tell_from_s = 0.0

    def note(self, counter: Counter, error: Exception) -> None:
        """One more packet, datagram or step that raised."""
        self._counts[counter] += 1
        self._untold = f"{type(error).__name__} in {_place(error.__traceback__)}"

    def tell(self, channel: socket.socket, now_s: float) -> None:
        """Say the last one to the supervisor, unless one was said a moment ago."""
        if self._untold and now_s >= self._tell_from_s:
            said, self._untold = self._untold, ""
            self._tell_from_s = now_s + TELL_INTERVAL_S
            control.try_send(channel, fault_message(said))


def _place(traceback: TracebackType | None) -> str:
    """File and line where it was raised."""
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return "?"
    file = traceback.tb_frame.f_code.co_filename
    return f"{'/'.join(file.split('/')[-3:])}:{traceback.tb_lineno}"
