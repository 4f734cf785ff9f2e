"""A call as HEP3 packets, one after the other, as Homer takes them over TCP (`nc homer 9060`).

A packet is "HEP3", its length, and chunks of vendor, type, length and value. Protocol 100 is a log
line that Homer shows in the flow of the call, found by the correlation id, which is the call id.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator

from google.protobuf.json_format import MessageToDict

from records.export.case import Case
from trunkline.v1 import record_pb2 as pb

LOG = 100  # protocol type of a log line
CAPTURE_ID = 2026  # any number that tells us from other agents
_IPV4, _UDP = 2, 17
_NOBODY = bytes(4)  # 0.0.0.0: addresses of callers are not told
_HEADER = struct.Struct("!4sH")
_CHUNK = struct.Struct("!HHH")
MAX_PAYLOAD_BYTES = 60_000  # a packet has 16 bits for its length


def write_hep(case: Case) -> bytes:
    """All packets, each with its own length in front."""
    return b"".join(packets(case))


def packets(case: Case) -> Iterator[bytes]:
    """One for each event; what was said is not in it."""
    for event in case.events:
        yield packet(event, case.call_id)


def packet(event: pb.Event, call_id: str) -> bytes:
    """One event as a HEP3 packet."""
    payload = _payload(event)
    chunks = b"".join(
        (
            _chunk(1, bytes([_IPV4])),
            _chunk(2, bytes([_UDP])),
            _chunk(3, _NOBODY),
            _chunk(4, _NOBODY),
            _chunk(7, struct.pack("!H", 0)),
            _chunk(8, struct.pack("!H", 0)),
            _chunk(9, struct.pack("!I", event.wall_us // 1_000_000 & 0xFFFFFFFF)),
            _chunk(10, struct.pack("!I", event.wall_us % 1_000_000)),
            _chunk(11, bytes([LOG])),
            _chunk(12, struct.pack("!I", CAPTURE_ID)),
            _chunk(17, call_id.encode()[:1000]),
            _chunk(15, payload),
        )
    )
    return _HEADER.pack(b"HEP3", _HEADER.size + len(chunks)) + chunks


def _chunk(kind: int, value: bytes) -> bytes:
    return _CHUNK.pack(0, kind, _CHUNK.size + len(value)) + value


def _payload(event: pb.Event) -> bytes:
    kind = event.WhichOneof("body") or "unknown"
    body = getattr(event, kind, None)
    told = MessageToDict(body, preserving_proto_field_name=True) if body is not None else {}
    line = json.dumps({"event": kind, "source": event.source, "number": event.number, **told})
    return line.encode()[:MAX_PAYLOAD_BYTES]
