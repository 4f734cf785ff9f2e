"""What is held for the next backend, and what becomes of what is too much."""

from __future__ import annotations

from transceiver.call.unheard import HELD_S, Unheard
from transceiver.call.waiting_messages import MAX_BYTES, MAX_MESSAGES

FRAME = 960
ROOM = int(HELD_S * 50)


class Hearer:
    """Remembers what it is given."""

    def __init__(self) -> None:
        self.audio: list[tuple[bytes, int, int, int]] = []
        self.messages: list[tuple[str, str | bytes, bool]] = []

    def send_audio(self, payload: bytes, rtp_time: int, duration: int, lost: int = 0) -> None:
        self.audio.append((payload, rtp_time, duration, lost))

    def send_text(self, label: str, text: str, *, from_server: bool = False) -> None:
        self.messages.append((label, text, from_server))

    def send_binary(self, label: str, content: bytes) -> None:
        self.messages.append((label, content, False))


def held() -> tuple[Unheard, list[str]]:
    overflows: list[str] = []
    return Unheard(lambda: overflows.append("full")), overflows


def test_all_of_it_comes_in_order_and_once() -> None:
    """Sound with its times, messages with their channel and who said them."""
    events, overflows = held()
    events.send_audio(b"a", 0, FRAME)
    events.send_text("chat", "one")
    events.send_binary("raw", b"two")
    events.send_text("chat", "three", from_server=True)
    events.send_audio(b"b", FRAME, FRAME, 2)
    hearer = Hearer()
    events.pour(hearer)
    events.pour(hearer)
    assert hearer.audio == [(b"a", 0, FRAME, 0), (b"b", FRAME, FRAME, 2)]
    assert hearer.messages == [
        ("chat", "one", False),
        ("raw", b"two", False),
        ("chat", "three", True),
    ]
    assert not overflows


def test_the_oldest_sound_goes_and_counts_as_lost() -> None:
    """Two seconds are held; the first frame that is left says how many packets are missing."""
    events, _ = held()
    for number in range(ROOM + 10):
        events.send_audio(b"%d" % number, number * FRAME, FRAME, lost=int(number == 3))
    assert len(events) == ROOM and events.lost == 11
    hearer = Hearer()
    events.pour(hearer)
    assert hearer.audio[0] == (b"10", 10 * FRAME, FRAME, 11)
    assert [lost for *_, lost in hearer.audio[1:]] == [0] * (ROOM - 1)


def test_too_many_messages_are_told_and_not_held() -> None:
    """64 of them, or 256 KiB."""
    events, overflows = held()
    for _ in range(MAX_MESSAGES):
        events.send_text("c", "x")
    assert not overflows
    events.send_text("c", "x")
    assert overflows == ["full"] and len(events) == MAX_MESSAGES
    events, overflows = held()
    events.send_binary("c", bytes(MAX_BYTES - 1))
    events.send_text("c", "")
    assert overflows == ["full"] and len(events) == 1
