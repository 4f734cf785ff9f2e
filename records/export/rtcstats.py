"""A call as an rtcstats dump, version 3, as the importers of rtcstats.com read it.

The first line is `RTCStatsDump`, the second an object with the version, and each further one
`[method, connection, value, ms since the line before]`. The connection is the call, seen from the
server: what the caller sent is inbound.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from records.export.case import Case
from trunkline.v1 import record_pb2 as pb

FILE_FORMAT = 3
_CHECKED = {pb.ICE_PHASE_FIRST_CHECK: "connected", pb.ICE_PHASE_CONSENT_EXPIRED: "disconnected"}


def write_rtcstats(case: Case) -> bytes:
    """The dump, as UTF-8."""
    metadata = {"fileFormat": FILE_FORMAT, "userAgent": "Trunkline", "clientId": case.call_id}
    lines: list[Any] = [metadata]
    at_ms = 0
    for method, value, now_ms in _told(case):
        # A delta is not negative, though clocks of two sources may differ.
        lines.append([method, case.call_id, value, max(0, now_ms - at_ms)])
        at_ms = max(at_ms, now_ms)
    return "\n".join(["RTCStatsDump", *map(json.dumps, lines), ""]).encode()


def _told(case: Case) -> Iterator[tuple[str, Any, int]]:
    sums: Counter[str] = Counter()
    for event in case.events:
        at_ms = event.wall_us // 1000
        match event.WhichOneof("body"):
            case "placed":
                yield "create", {}, at_ms
            case "ice" if event.ice.phase in _CHECKED:
                yield "oniceconnectionstatechange", _CHECKED[event.ice.phase], at_ms
            case "connected":
                yield "onconnectionstatechange", "connected", at_ms
            case "dtls" if event.dtls.phase == pb.DTLS_PHASE_FAILED:
                yield "onconnectionstatechange", "failed", at_ms
            case "media":
                yield "getStats", _stats(event.media, sums, at_ms), at_ms
            case "ended":
                yield "close", None, at_ms


def _stats(media: pb.Media, sums: Counter[str], at_ms: int) -> dict[str, dict[str, Any]]:
    """A report as getStats has it: counters since the beginning, times in seconds."""
    if media.direction == pb.DIRECTION_FROM_CALLER:
        sums["received"] += media.packets
        sums["received_lost"] += media.lost
        inbound = {
            "packetsReceived": sums["received"],
            "packetsLost": sums["received_lost"],
            "jitter": media.jitter_ms / 1000,
            **_level(media),
        }
        return {"in": {"type": "inbound-rtp", "kind": "audio", "timestamp": at_ms, **inbound}}
    sums["sent"] += media.packets
    sums["sent_lost"] += media.lost
    outbound = {"type": "outbound-rtp", "kind": "audio", "timestamp": at_ms}
    remote = {
        "packetsLost": sums["sent_lost"],
        "jitter": media.jitter_ms / 1000,
        **(
            {"roundTripTime": media.round_trip_ms / 1000} if media.HasField("round_trip_ms") else {}
        ),
    }
    return {
        "out": {**outbound, "packetsSent": sums["sent"], "remoteId": "remote"},
        "remote": {**outbound, "type": "remote-inbound-rtp", "localId": "out", **remote},
    }


def _level(media: pb.Media) -> dict[str, float]:
    """audioLevel is linear, 1.0 is 0 dBov (W3C webrtc-stats)."""
    if not media.HasField("level_dbov"):
        return {}
    return {"audioLevel": 10 ** (max(-127.0, min(0.0, media.level_dbov)) / 20)}
