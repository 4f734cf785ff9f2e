"""Events for tests, written as a process writes them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

from fleet.record.chain import Chain
from records.store.rows import Recorded, read
from trunkline.v1 import record_pb2 as pb

NOON_US = 1_790_000_000_000_000  # in September 2026


@dataclass
class Teller:
    """One source of one call."""

    call_id: str = field(default_factory=lambda: f"rtc_{secrets.token_hex(8)}")
    source: str = "transceiver-1-a"
    now_us: int = NOON_US

    def __post_init__(self) -> None:
        self.chain = Chain(self.call_id, self.source)

    def envelope(self, content: str = "", **body: Any) -> pb.Envelope:
        """The next event, a tenth of a second after the one before."""
        self.now_us += 100_000
        times = (self.now_us, self.now_us - NOON_US)
        return self.chain.add(pb.ORIGIN_TRANSCEIVER, *times, content, body)

    def tell(self, content: str = "", **body: Any) -> Recorded:
        """The same, as the store takes it."""
        return read(self.envelope(content, **body))

    def whole_call(self) -> list[Recorded]:
        """From its offer to its end, with two turns."""
        return [
            self.tell(
                placed=pb.Placed(tenant="acme", key_id="k1", node=17, surface="whip", model="m-1")
            ),
            self.tell(answered=pb.Answered(waited_ms=3)),
            self.tell(ice=pb.IceStep(phase=pb.ICE_PHASE_FIRST_CHECK, network="198.51.100.0/24")),
            self.tell(connected=pb.Connected(waited_ms=20)),
            self.tell(session=pb.SessionSet(prompt_id="greeter", prompt_version="7")),
            self.tell(
                "Where is my parcel?",
                item=pb.Item(item_id="i1", role=pb.ROLE_USER, type="message", final=True),
            ),
            self.tell(turn=pb.Turn(turn=1, out_ms=400, heard_ms=200)),
            self.tell(
                "It left on Monday.",
                item=pb.Item(item_id="i2", role=pb.ROLE_ASSISTANT, type="message", final=True),
            ),
            self.tell(turn=pb.Turn(turn=1, final=True, out_ms=400, heard_ms=200)),
            self.tell(turn=pb.Turn(turn=2, final=True, out_ms=900, interrupted=True)),
            self.tell(
                usage=pb.UsageReport(
                    model="m-1-2026",
                    price=0.25,
                    amounts=[
                        pb.Amount(kind=pb.USAGE_KIND_AUDIO_INPUT_TOKENS, amount=120),
                        pb.Amount(kind=pb.USAGE_KIND_TEXT_CACHED_TOKENS, amount=30),
                        pb.Amount(kind=pb.USAGE_KIND_AUDIO_OUTPUT_TOKENS, amount=200),
                    ],
                )
            ),
            self.tell(
                tool=pb.Tool(name="track", tool_call_id="c1", outcome=pb.TOOL_OUTCOME_TIMED_OUT)
            ),
            self.tell(
                media=pb.Media(
                    direction=pb.DIRECTION_FROM_CALLER, span_s=10, packets=490, lost=10, jitter_ms=4
                )
            ),
            self.tell(
                media=pb.Media(
                    direction=pb.DIRECTION_TO_CALLER, span_s=10, packets=500, round_trip_ms=31.5
                )
            ),
            self.tell(gap=pb.Gap(direction=pb.DIRECTION_FROM_CALLER, length_ms=140, over=True)),
            self.tell(
                ended=pb.Ended(
                    reason=pb.END_REASON_CLIENT_CLOSED,
                    cause=pb.CAUSE_CALLER_HUNG_UP,
                    lasted_s=61.5,
                )
            ),
        ]
