"""Where the milliseconds of a turn went. Pure.

    voiced ─▶ ended ─▶ … ─▶ out          ended: we decided that the caller had finished
       └▶ heard ─▶ first_words ─▶ (tool_started ─▶ tool_ended) ─▶ first_sound ─▶ sent ─▶ out

The two lines run at the same time: what is made before `ended` is made ahead. All times are of the
monotonic clock; a record shows them in milliseconds after `voiced`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from trunkline.backend.events import Network

STAGES = (
    "ended",
    "heard",
    "first_words",
    "tool_started",
    "tool_ended",
    "first_sound",
    "sent",
    "out",
)


@dataclass
class Stamps:
    """Moments of one turn, None for what did not happen (yet)."""

    voiced: float | None = None  # the caller's last voiced packet came in
    ended: float | None = None  # the end of the turn was decided
    heard: float | None = None  # the transcript was final
    first_words: float | None = None
    tool_started: float | None = None
    tool_ended: float | None = None
    first_sound: float | None = None  # the first clause's sound was there
    sent: float | None = None  # its first frame went to the transceiver
    out: float | None = None  # and left for the caller

    def note(self, stage: str, at_s: float) -> None:
        """Something happened; only the first time counts."""
        if getattr(self, stage) is None:
            setattr(self, stage, at_s)


@dataclass(frozen=True)
class NetworkLegs:
    """What the network cost around a turn, None where nobody knows.

    Server side: the caller's RTCP round trip, and what its packets waited in our jitter buffer, in
    the mean since the turn before. The client's own are told later (`trunkline.client_report`).
    """

    rtt_ms: float | None = None
    jitter_buffer_ms: float | None = None

    @classmethod
    def between(cls, before: Network, now: Network) -> NetworkLegs:
        """Of the turn that lies between two reports of the transceiver."""
        return cls(_rounded(now.round_trip_ms), _rounded(now.wait_since(before)))


@dataclass
class TurnRecord:
    """One turn as it is told to the log, the metrics and the page.

    It is told to the page as soon as the answer begins to leave, and once more when it is `final`.
    """

    number: int
    stamps: Stamps = field(default_factory=Stamps)
    item_id: str = ""
    response_id: str = ""
    speculative: bool = False  # the answer that was given had been begun before `ended`
    discarded: int = 0  # answers begun and thrown away
    tools: list[str] = field(default_factory=list)
    interrupted: bool = False  # not heard to its end: spoken over, stopped, hung up on
    failed: str = ""
    network: NetworkLegs = field(default_factory=NetworkLegs)
    final: bool = False  # nothing more will come of it

    def after_voiced_ms(self) -> dict[str, float]:
        """Each stage that happened, in ms after the caller's last voiced packet."""
        moments, start = asdict(self.stamps), self.stamps.voiced
        if start is None:
            return {}
        return {
            stage: round(1000 * (moments[stage] - start), 1)
            for stage in STAGES
            if moments[stage] is not None
        }

    def shown(self) -> dict[str, Any]:
        """The members of the `trunkline.turn` event."""
        return {
            "turn": self.number,
            "final": self.final,
            "item_id": self.item_id or None,
            "response_id": self.response_id or None,
            "stages_ms": self.after_voiced_ms(),
            "speculative": self.speculative,
            "discarded": self.discarded,
            "tools": self.tools,
            "interrupted": self.interrupted,
            "failed": self.failed or None,
            "network": asdict(self.network),
        }


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 1)
