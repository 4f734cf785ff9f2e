"""Calls of a night for tests of what people look at: a dozen, live and past, with troubles."""

from __future__ import annotations

from typing import Any

from records.store.rows import Recorded
from tests.records.kit import Teller
from trunkline.v1 import record_pb2 as pb

IN, OUT = pb.DIRECTION_FROM_CALLER, pb.DIRECTION_TO_CALLER
STAGES = {
    "ended_ms": 260.0,
    "heard_ms": 140.0,
    "first_words_ms": 330.0,
    "first_sound_ms": 420.0,
    "sent_ms": 424.0,
    "out_ms": 431.0,
    "unexplained_ms": 3.0,
    "rtt_ms": 38.0,
    "jitter_buffer_ms": 40.0,
}
TALK = (
    ("Hello, where is my parcel?", "Good evening. Can you tell me its number?"),
    ("It is four two seven one.", "One moment. It left Lyon on Friday and is in Geneva now."),
    ("And when will it be here?", "It should be with you tomorrow before noon."),
    ("Can I have it brought to the office?", "Yes. I have noted the address of your office."),
)


class Night:
    """One call, told at seconds after it was placed."""

    def __init__(self, call_id: str, began_us: int) -> None:
        self.events: list[Recorded] = []
        self._teller = Teller(call_id, source="transceiver-17-4f2a91c0")
        self._began_us = began_us

    def at(self, seconds: float, said: str = "", **body: Any) -> None:
        """One more event; call in the order of time."""
        self._teller.now_us = self._began_us + round(seconds * 1e6) - 100_000
        self.events.append(self._teller.tell(said, **body))

    def begins(self, **placed: Any) -> None:
        """Its set-up."""
        told = {"tenant": "acme", "key_id": "k_7d1f3a90c2", "region": "eu-1", "node": 17, **placed}
        self.at(0, placed=pb.Placed(surface="realtime_calls", backend="voice", **told))
        self.at(0.006, answered=pb.Answered(waited_ms=6))
        network = "198.51.100.0/24"
        first = pb.IceStep(phase=pb.ICE_PHASE_FIRST_CHECK, waited_ms=64, network=network)
        self.at(0.064, ice=first)
        self.at(0.066, path=pb.PathChanged(to_network=network))
        self.at(0.07, dtls=pb.DtlsStep(phase=pb.DTLS_PHASE_STARTED, waited_ms=70))
        self.at(0.16, dtls=pb.DtlsStep(phase=pb.DTLS_PHASE_CONNECTED, waited_ms=160))
        self.at(0.16, connected=pb.Connected(waited_ms=160))
        session = pb.SessionSet(
            model="qwen3-8b",
            voice="joe",
            prompt_id="parcels",
            prompt_version="12",
            instructions_sha256="3fa9c1d2" * 8,
            tools=["track_parcel"],
            backend_build="0.1.0",
        )
        self.at(0.2, session=session)

    def turn(self, at_s: float, number: int, **changed: Any) -> None:
        """A question and its answer: the caller's last sound is at `at_s`."""
        asked, answer = TALK[(number - 1) % len(TALK)]
        stages = {name: ms for name, ms in {**STAGES, **changed}.items() if ms is not None}
        ids = {"item_id": f"item_{number}u", "response_id": f"resp_{number}"}
        user = pb.Item(
            item_id=ids["item_id"], role=pb.ROLE_USER, type="message", final=True, audio=True
        )
        self.at(at_s + 0.14, asked, item=user)
        out_ms = float(stages.get("out_ms", 500.0))
        self.at(at_s + out_ms / 1000, turn=pb.Turn(turn=number, **ids, **stages))  # type: ignore[arg-type]
        cut = bool(stages.get("interrupted"))
        told = pb.Item(
            item_id=f"item_{number}a",
            role=pb.ROLE_ASSISTANT,
            type="message",
            response_id=f"resp_{number}",
            final=True,
            audio=True,
            truncated=cut,
            heard_chars=len(answer) // 2 if cut else 0,
            heard_ms=1400.0 if cut else None,
        )
        self.at(at_s + out_ms / 1000 + 1.5, answer, item=told)
        used = [
            pb.Amount(kind=pb.USAGE_KIND_TEXT_INPUT_TOKENS, amount=180 + 40 * number),
            pb.Amount(kind=pb.USAGE_KIND_TEXT_CACHED_TOKENS, amount=120),
            pb.Amount(kind=pb.USAGE_KIND_TEXT_OUTPUT_TOKENS, amount=24),
        ]
        usage = pb.UsageReport(model="qwen3-8b", response_id=f"resp_{number}", amounts=used)
        self.at(at_s + out_ms / 1000 + 1.6, usage=usage)
        final = pb.Turn(turn=number, final=True, **ids, **stages)  # type: ignore[arg-type]
        self.at(at_s + out_ms / 1000 + 2.6, turn=final)

    def media(self, at_s: float, lost: int = 0, **changed: Any) -> None:
        """Ten seconds of both directions."""
        came = {"packets": 500 - lost, "lost": lost, "jitter_ms": 3.1, "longest_silence_ms": 31.0}
        spoken = {"level_dbov": -31.0, "concealed_ms": 20.0 * lost, **changed}
        self.at(at_s, media=pb.Media(direction=IN, span_s=10, **{**came, **spoken}))
        sent = pb.Media(
            direction=OUT,
            span_s=10,
            packets=500,
            jitter_ms=2.4,
            round_trip_ms=38,
            longest_silence_ms=21,
            level_dbov=-24,
        )
        self.at(at_s, media=sent)

    def ends(
        self,
        at_s: float,
        reason: Any = pb.END_REASON_CLIENT_CLOSED,
        cause: Any = pb.CAUSE_CALLER_HUNG_UP,
    ) -> None:
        """Its end."""
        self.at(at_s, ended=pb.Ended(reason=reason, cause=cause, lasted_s=at_s))


def the_call_at_two(began_us: int) -> Night:
    """A tool hangs, the caller speaks over it, and hangs up; on the way the path changed."""
    call = Night("rtc_the_call_at_two", began_us)
    call.begins()
    call.turn(4.2, 1)
    call.media(10)
    started = {"name": "track_parcel", "tool_call_id": "call_1", "response_id": "resp_2", "turn": 2}
    call.at(12.9, tool=pb.Tool(outcome=pb.TOOL_OUTCOME_STARTED, **started))  # type: ignore[arg-type]
    call.media(20, lost=9)
    silence = pb.FlightRecord(trigger=pb.TRIGGER_SILENCE, packets=b"")
    call.at(15.6, flight=silence)
    timed_out = pb.Tool(outcome=pb.TOOL_OUTCOME_TIMED_OUT, duration_ms=10_000, **started)  # type: ignore[arg-type]
    call.at(22.9, tool=timed_out)
    slow = {"tool_started_ms": 400.0, "tool_ended_ms": 10_400.0, "first_words_ms": 10_660.0}
    late = {"first_sound_ms": 10_790.0, "sent_ms": 10_794.0, "out_ms": 10_801.0}
    call.turn(12.5, 2, interrupted=True, **slow, **late)
    call.media(30, level_dbov=-27.0)
    path = pb.PathChanged(from_network="198.51.100.0/24", to_network="203.0.113.0/24")
    call.at(31.5, path=path)
    call.at(31.6, gap=pb.Gap(direction=IN, length_ms=420, over=True))
    call.turn(33, 3)
    call.media(40, lost=4)
    call.ends(41.3)
    return call


def healthy(call_id: str, began_us: int, *, over: bool = True) -> Night:
    """Four turns without trouble."""
    call = Night(call_id, began_us)
    call.begins()
    for number in range(1, 5):
        call.turn(10 * number - 6, number)
        call.media(10 * number)
    if over:
        call.ends(42)
    return call


def of_a_night(began_us: int) -> list[Night]:
    """The call at two, some that went well, one that lives, and some that failed otherwise."""
    minute = 60_000_000
    calls = [the_call_at_two(began_us)]
    calls += [healthy(f"rtc_well_{n}", began_us - n * 7 * minute) for n in range(1, 6)]
    calls.append(healthy("rtc_live", began_us + 3 * minute, over=False))
    lossy = Night("rtc_lossy", began_us - 11 * minute)
    lossy.begins()
    lossy.turn(4, 1)
    lossy.media(10, lost=70)
    lossy.ends(14)
    never = Night("rtc_never_came", began_us - 13 * minute)
    never.at(0, placed=pb.Placed(tenant="acme", key_id="k_7d1f3a90c2", backend="voice"))
    never.ends(30, pb.END_REASON_TIMEOUT, pb.CAUSE_CALLER_NEVER_CAME)
    return [*calls, lossy, never]
