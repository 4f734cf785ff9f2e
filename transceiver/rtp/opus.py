"""What the first bytes of an Opus packet say: how long it plays, whether it holds a voice."""

from __future__ import annotations

CLOCK_HZ = 48_000  # of RTP for Opus, whatever the packet was made from (RFC 7587 §4.1)
MAX_PACKET_BYTES = 1275  # RFC 6716 §3.4, for one frame
MAX_DURATION = 5760  # 120 ms
MIN_DURATION = 120  # 2.5 ms, the shortest frame of Opus (RFC 6716 §2.1.4)
DTX_BYTES = 2  # RFC 7587 §3.1.3: what libopus writes where there is nothing to hear

_SILK = (480, 960, 1920, 2880)  # configurations 0–11
_HYBRID = (480, 960)  # 12–15
_CELT = (120, 240, 480, 960)  # 16–31


def _frame_duration(configuration: int) -> int:
    if configuration < 12:
        return _SILK[configuration % 4]
    if configuration < 16:
        return _HYBRID[configuration % 2]
    return _CELT[configuration % 4]


_FRAME_DURATION = tuple(_frame_duration(toc >> 3) for toc in range(256))


def duration(packet: bytes) -> int:
    """Length in 48 kHz ticks; 0 for what is no Opus packet (empty, no count, over 120 ms).

    RFC 6716 §3.1, §3.2.
    """
    if not packet:
        return 0
    toc = packet[0]
    code = toc & 3
    if code == 0:
        return _FRAME_DURATION[toc]
    if code < 3:
        return 2 * _FRAME_DURATION[toc]
    if len(packet) < 2:
        return 0
    total = _FRAME_DURATION[toc] * (packet[1] & 0x3F)
    return total if total <= MAX_DURATION else 0


def is_quiet(packet: bytes) -> bool:
    """Whether the encoder heard no voice in it: DTX, or one frame whose SILK part says so.

    RFC 6716 §4.2.3: the voice flags of a frame's 10 or 20 ms parts come first, coded with even
    odds, so they are its first bits. CELT has none, and frames in one packet are not looked into.
    """
    if len(packet) <= DTX_BYTES:
        return True
    toc = packet[0]
    if toc & 0x83:  # CELT, or more frames than one
        return False
    parts = max(1, _FRAME_DURATION[toc] // 960)
    return packet[1] >> (8 - parts) == 0
