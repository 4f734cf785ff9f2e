"""What a call tells of itself for its record (`fleet.record`), a method for each thing.

A method costs some ten microseconds and is called when something happens, never for each packet. A
process that writes no record has `NO_RECORD` in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fleet.record.lineage import lineage
from fleet.record.writer import CallLog
from fleet.redact import redact_network
from transceiver.call.call_id import origin_of
from transceiver.call.record_words import CAUSES, DTLS_CAUSES, END_REASONS
from transceiver.call.snapshot import CallSnapshot
from trunkline.v1 import model_pb2
from trunkline.v1 import record_pb2 as pb
from wire.address import unpack_address


class CallRecord:
    """The record of one call in this process. `placed_s` is when it was placed, by `now`.

    `last_words` tells what is still to be told of it before it ends here.
    """

    def __init__(
        self,
        log: CallLog | None,
        now: Callable[[], float],
        placed_s: float,
        last_words: Callable[[], None] = lambda: None,
    ) -> None:
        self._log = log
        self._now = now
        self._placed_s = placed_s
        self._last_words = last_words
        self._cause: pb.Cause.ValueType | None = None  # the first that is told is the cause
        self._network = ""
        self._checked = self._answered = False

    def tell(self, content: str = "", *, origin: Any = pb.ORIGIN_TRANSCEIVER, **body: Any) -> None:
        """Anything else, as `CallLog.tell`."""
        if self._log is not None:
            self._log.tell(origin, content, **body)

    # From its offer until the caller is there.

    def placed(self, placed: pb.Placed) -> None:
        """The call is made."""
        self.tell(placed=placed)

    def moved_here(self, call_id: str, node: int) -> None:
        """The call goes on in this process."""
        made_by = origin_of(call_id)
        from_node = made_by.node if made_by else 0
        self.tell(moved=pb.Moved(kind=pb.MOVE_KIND_PLANNED, from_node=from_node, to_node=node))

    def backend_chosen(self, backend: str, audio_format: int, session_json: str) -> None:
        """It is on the link of a backend, with this session."""
        named = model_pb2.AudioFormat.Name(model_pb2.AudioFormat.ValueType(audio_format))
        written = named.removeprefix("AUDIO_FORMAT_").lower()
        phase = pb.BACKEND_PHASE_CHOSEN
        self.tell(backend=pb.BackendStep(phase=phase, backend=backend, format=written))
        self.tell(session=lineage(session_json))

    def answered(self) -> None:
        """The backend took it."""
        if not self._answered:
            self._answered = True
            self.tell(answered=pb.Answered(waited_ms=self._waited_ms()))

    def checked(self, address: bytes) -> None:
        """A connectivity check of the caller authenticated; the first one is told."""
        if self._checked:
            return
        self._checked = True
        step = pb.IceStep(
            phase=pb.ICE_PHASE_FIRST_CHECK, waited_ms=self._waited_ms(), network=_network(address)
        )
        self.tell(ice=step)
        self._dtls(pb.DTLS_PHASE_STARTED)

    def connected(self) -> None:
        """DTLS is done: sound flows."""
        self._dtls(pb.DTLS_PHASE_CONNECTED)
        self.tell(connected=pb.Connected(waited_ms=self._waited_ms()))

    # While it lasts.

    def path(self, address: bytes, round_trip_s: float | None) -> None:
        """Packets to the caller go to that address from now on."""
        network, before = _network(address), self._network
        self._network = network
        changed = pb.PathChanged(
            from_network=before, to_network=network, round_trip_ms=(round_trip_s or 0.0) * 1000
        )
        self.tell(path=changed)

    def ice_restarted(self) -> None:
        """The caller brought new credentials."""
        self.tell(ice=pb.IceStep(phase=pb.ICE_PHASE_RESTARTED, waited_ms=self._waited_ms()))

    def backend_restored(self, backend: str) -> None:
        """Another backend, or the same again, goes on with the call."""
        self._cause = None
        self.tell(backend=pb.BackendStep(phase=pb.BACKEND_PHASE_RESTORED, backend=backend))

    # What may be the cause of its end.

    def dtls_closed(self) -> None:
        """The caller ended DTLS."""
        self._dtls(pb.DTLS_PHASE_CLOSED)

    def dtls_failed(self, reason: str) -> None:
        """The handshake, or the association, is dead; `reason` is `dtls.Failed.reason`."""
        self._blame(DTLS_CAUSES.get(reason, pb.CAUSE_DTLS_FAILED))
        self._dtls(pb.DTLS_PHASE_FAILED, reason)

    def consent_expired(self) -> None:
        """Nothing of the caller was heard for too long."""
        self._blame(pb.CAUSE_CALLER_WENT_SILENT)
        self.tell(ice=pb.IceStep(phase=pb.ICE_PHASE_CONSENT_EXPIRED, waited_ms=self._waited_ms()))

    def backend_lost(self) -> None:
        """Its stream broke."""
        self._blame(pb.CAUSE_BACKEND_LOST)
        self.tell(backend=pb.BackendStep(phase=pb.BACKEND_PHASE_LOST))

    def backend_hung_up(self, reason: str) -> None:
        """The backend ended the call, or could not go on with it."""
        failed = reason == "failed"
        self._blame(pb.CAUSE_MODEL_FAILED if failed else pb.CAUSE_BACKEND_HUNG_UP)

    def fault(self, error: Exception) -> None:
        """Something of ours raised."""
        self._blame(pb.CAUSE_FAULT)
        self.tell(fault=pb.Fault(kind=type(error).__name__))

    # Its end.

    def left(self) -> None:
        """Another process goes on with it."""
        self._last_words()
        self.tell(moved=pb.Moved(kind=pb.MOVE_KIND_LEFT))

    def ended(self, reason: str, last: CallSnapshot) -> None:
        """It is over; `reason` is one of `states.END_REASONS`."""
        self._last_words()
        ended = pb.Ended(
            reason=END_REASONS.get(reason, pb.END_REASON_UNSPECIFIED),
            cause=self._cause_of(reason),
            lasted_s=self._waited_ms() / 1000,
            packets_from_caller=last.packets_received,
            packets_to_caller=last.packets_sent,
            packets_lost=last.packets_lost,
            messages_from_caller=last.messages_received,
            messages_to_caller=last.messages_sent,
        )
        self.tell(ended=ended)

    def _cause_of(self, reason: str) -> pb.Cause.ValueType:
        if self._cause is not None:
            return self._cause
        if reason == "timeout":
            return pb.CAUSE_DTLS_TIMEOUT if self._checked else pb.CAUSE_CALLER_NEVER_CAME
        if reason == "failed" and not self._answered:
            return pb.CAUSE_BACKEND_LOST
        return CAUSES.get(reason, pb.CAUSE_UNSPECIFIED)

    def _blame(self, cause: pb.Cause.ValueType) -> None:
        if self._cause is None:
            self._cause = cause

    def _dtls(self, phase: pb.DtlsPhase.ValueType, reason: str = "") -> None:
        self.tell(dtls=pb.DtlsStep(phase=phase, waited_ms=self._waited_ms(), reason=reason))

    def _waited_ms(self) -> float:
        return max(0.0, self._now() - self._placed_s) * 1000


def _network(address: bytes) -> str:
    return redact_network(unpack_address(address)[0])


NO_RECORD = CallRecord(None, lambda: 0.0, 0.0)
"""Of a call that nobody records. It is shared, so nothing that it notes means anything."""
