"""Calls for the diagnosis: a healthy one, to which a test adds what goes wrong."""

from __future__ import annotations

from typing import Any

from records.diagnosis.facts import Before
from records.diagnosis.story import Story, tell
from trunkline.v1 import record_pb2 as pb

BEGAN_US = 1_790_000_000_000_000
SOURCE = "transceiver-17-a"
IN, OUT = pb.DIRECTION_FROM_CALLER, pb.DIRECTION_TO_CALLER
STAGES = {
    "ended_ms": 250.0,
    "heard_ms": 120.0,
    "first_words_ms": 310.0,
    "first_sound_ms": 400.0,
    "sent_ms": 402.0,
    "out_ms": 410.0,
}


class Call:
    """Events of one call, at seconds after it was placed."""

    def __init__(self) -> None:
        self.events: list[pb.Event] = []
        self.contents: dict[tuple[str, int], str] = {}

    def at(self, seconds: float, said: str = "", source: str = SOURCE, **body: Any) -> pb.Event:
        """One more event; its number is the next of its source."""
        number = sum(one.source == source for one in self.events) + 1
        event = pb.Event(
            call_id="rtc_1",
            source=source,
            number=number,
            wall_us=BEGAN_US + round(seconds * 1e6),
            content_hash=b"h" if said else b"",
            **body,
        )
        if said:
            self.contents[source, number] = said
        self.events.append(event)
        return event

    def item(self, seconds: float, item_id: str, role: Any, said: str, **more: Any) -> pb.Event:
        """Something that was said, and is final."""
        item = pb.Item(item_id=item_id, role=role, type="message", final=True, **more)
        return self.at(seconds, said, item=item)

    def turn(self, seconds: float, number: int, **changed: Any) -> pb.Event:
        """A turn that is over; a stage of None did not happen."""
        told = {"turn": number, "final": True, **STAGES, **changed}
        return self.at(seconds, turn=pb.Turn(**{k: v for k, v in told.items() if v is not None}))

    def media(self, seconds: float, direction: Any, **changed: Any) -> pb.Event:
        """Ten seconds of sound without trouble."""
        told = {"span_s": 10, "packets": 500, "jitter_ms": 2, "longest_silence_ms": 25, **changed}
        return self.at(seconds, media=pb.Media(direction=direction, **told))

    def ends(
        self,
        seconds: float,
        reason: Any = pb.END_REASON_CLIENT_CLOSED,
        cause: Any = pb.CAUSE_CALLER_HUNG_UP,
    ) -> None:
        """Its end; by default the caller's."""
        self.at(seconds, ended=pb.Ended(reason=reason, cause=cause, lasted_s=seconds))

    def story(self, before: Before | None = None) -> Story:
        """What is told of it."""
        return tell(self.events, self.contents, before)


def begun() -> Call:
    """A call that is set up."""
    call = Call()
    call.at(
        0, placed=pb.Placed(tenant="acme", key_id="k_1", node=17, surface="whip", backend="voice")
    )
    call.at(0.01, answered=pb.Answered(waited_ms=10))
    call.at(0.1, ice=pb.IceStep(phase=pb.ICE_PHASE_FIRST_CHECK, waited_ms=100))
    call.at(0.1, path=pb.PathChanged(to_network="198.51.100.0/24"))
    call.at(0.12, dtls=pb.DtlsStep(phase=pb.DTLS_PHASE_STARTED, waited_ms=120))
    call.at(0.2, dtls=pb.DtlsStep(phase=pb.DTLS_PHASE_CONNECTED, waited_ms=200))
    call.at(0.2, connected=pb.Connected(waited_ms=200))
    call.at(0.3, session=pb.SessionSet(model="m-1", prompt_id="greeter", prompt_version="7"))
    return call


def talked(call: Call, at_s: float, number: int, **turn: Any) -> None:
    """One question and its answer."""
    call.item(at_s, f"u{number}", pb.ROLE_USER, "Where is my parcel?", audio=True)
    call.item(at_s + 1, f"a{number}", pb.ROLE_ASSISTANT, "It left.", response_id=f"r{number}")
    call.turn(at_s + 3, number, item_id=f"u{number}", response_id=f"r{number}", **turn)


def healthy(seconds: int = 40) -> Call:
    """Two turns, no trouble, not yet ended."""
    call = begun()
    talked(call, 5, 1)
    talked(call, 15, 2)
    for second in range(10, seconds, 10):
        call.media(second, IN, level_dbov=-30)
        call.media(second, OUT, round_trip_ms=30)
    return call
