"""Calls that never were, told as a transceiver and a backend tell them: one a minute, ten turns."""

from __future__ import annotations

import random
from collections.abc import Iterator

from fleet.record.chain import Chain
from records.store.rows import Recorded, read
from trunkline.v1 import record_pb2 as pb

CALL_S = 60
TURNS = 10
MEDIA_EVERY_S = 10
_KINDS = (
    *(pb.USAGE_KIND_TEXT_INPUT_TOKENS, pb.USAGE_KIND_AUDIO_INPUT_TOKENS),
    *(pb.USAGE_KIND_AUDIO_CACHED_TOKENS, pb.USAGE_KIND_TEXT_OUTPUT_TOKENS),
    pb.USAGE_KIND_AUDIO_OUTPUT_TOKENS,
)
_SAID = "Could you tell me where my parcel is, and when it is going to be here?"
_ANSWER = "It left the depot this morning. It should be with you between two and four today."


class MadeCall:
    """One call of `CALL_S` seconds that was placed at `placed_us`."""

    def __init__(self, number: int, placed_us: int, chance: random.Random) -> None:
        self._chain = Chain(f"rtc_made{number:012d}", f"transceiver-0-{number % 16:08x}")
        self._placed_us = placed_us
        self._chance = chance
        self._key = f"key-{number % 50}"

    def events(self) -> Iterator[Recorded]:
        """All of them, in order."""
        yield from self._begin()
        for turn in range(TURNS):
            yield from self._turn(turn, 2.0 + turn * (CALL_S - 4) / TURNS)
        for at_s in range(MEDIA_EVERY_S, CALL_S + 1, MEDIA_EVERY_S):
            yield from self._media(at_s)
        ended = pb.Ended(
            reason=pb.END_REASON_CLIENT_CLOSED, cause=pb.CAUSE_CALLER_HUNG_UP, lasted_s=CALL_S
        )
        yield self._tell(CALL_S, ended=ended)

    def _begin(self) -> Iterator[Recorded]:
        placed = pb.Placed(tenant="acme", key_id=self._key, node=17, surface="realtime")
        chosen = pb.BackendStep(phase=pb.BACKEND_PHASE_CHOSEN, backend="agent", format="opus")
        yield self._tell(0.0, placed=placed)
        yield self._tell(0.001, backend=chosen)
        yield self._tell(0.001, session=pb.SessionSet(model="m-1", prompt_id="greeter"))
        yield self._tell(0.005, answered=pb.Answered(waited_ms=5))
        first = pb.IceStep(phase=pb.ICE_PHASE_FIRST_CHECK, network="198.51.100.0/24")
        yield self._tell(0.03, ice=first)
        yield self._tell(0.03, dtls=pb.DtlsStep(phase=pb.DTLS_PHASE_STARTED))
        yield self._tell(0.06, dtls=pb.DtlsStep(phase=pb.DTLS_PHASE_CONNECTED))
        yield self._tell(0.06, connected=pb.Connected(waited_ms=60))

    def _turn(self, number: int, at_s: float) -> Iterator[Recorded]:
        out_ms = self._chance.lognormvariate(6.2, 0.3)
        heard, said = f"item_{number}a", f"item_{number}b"
        user = pb.Item(item_id=heard, role=pb.ROLE_USER, type="message", final=True, audio=True)
        spoken = pb.Item(item_id=said, role=pb.ROLE_ASSISTANT, type="message", final=True)
        turn = pb.Turn(
            turn=number, item_id=heard, heard_ms=out_ms / 2, first_sound_ms=out_ms, out_ms=out_ms
        )
        final = pb.Turn(final=True)
        final.MergeFrom(turn)
        amounts = [pb.Amount(kind=kind, amount=100 * kind) for kind in _KINDS]
        yield self._tell(at_s, _SAID, item=user)
        yield self._tell(at_s + 0.5, turn=turn)
        yield self._tell(at_s + 2.0, _ANSWER, item=spoken)
        yield self._tell(at_s + 2.0, turn=final)
        yield self._tell(at_s + 2.1, usage=pb.UsageReport(model="m-1", amounts=amounts))

    def _media(self, at_s: float) -> Iterator[Recorded]:
        for direction in (pb.DIRECTION_FROM_CALLER, pb.DIRECTION_TO_CALLER):
            media = pb.Media(
                direction=direction,
                span_s=MEDIA_EVERY_S,
                packets=500,
                lost=self._chance.randrange(3),
                jitter_ms=4.5,
                round_trip_ms=40,
            )
            yield self._tell(at_s, media=media)
        yield self._tell(at_s, resources=pb.Resources(cpu_s=0.02, bytes_to_caller=60_000))

    def _tell(self, at_s: float, content: str = "", **body: object) -> Recorded:
        at_us = int(at_s * 1_000_000)
        times = (self._placed_us + at_us, at_us)
        return read(self._chain.add(pb.ORIGIN_TRANSCEIVER, *times, content, dict(body)))
