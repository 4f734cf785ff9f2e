"""Data channels against each other, against aiortc's own, and against a hostile peer.

Timers run on a loop whose clock jumps to the next timer, so lost packets cost no waiting.
"""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Callable
from typing import Any

import pytest
from aiortc import RTCDataChannel, RTCDataChannelParameters
from aiortc.rtcsctptransport import RTCSctpCapabilities, RTCSctpTransport
from google_crc32c import value as crc32c

from tests.transceiver.caller import fault
from tests.virtual_time import JumpingLoop, Run
from transceiver.data import channels as data_channels
from transceiver.data import sctp
from transceiver.data.channels import DataChannels
from transceiver.data.sctp_screen import MAX_CHUNKS, screen
from transceiver.transport.dtls import Role


class Side:
    """One end: its channels, and what it was told."""

    def __init__(self, role: Role, wire: Wire, **options: Any) -> None:
        self.wire = wire
        self.opened: list[str] = []
        self.heard: list[tuple[str, str | bytes]] = []
        self.closes = 0
        self.faults: list[Exception] = []
        options = dict[str, Any](remote_max_message_size=262144, on_message=self.hear) | options
        self.channels = DataChannels(
            role,
            remote_port=5000,
            send=lambda packet: wire.carry(self, packet),
            on_open=self.opened.append,
            on_close=self.close,
            on_fault=self.faults.append,
            **options,
        )

    def hear(self, label: str, content: str | bytes) -> None:
        self.heard.append((label, content))

    def close(self) -> None:
        self.closes += 1

    def handle(self, packet: bytes) -> None:
        self.channels.handle_data(packet)


class Wire:
    """Carries packets between two sides after a delay on the loop's clock; loses some."""

    def __init__(self, seed: int = 0, loss: float = 0.0, **options: Any) -> None:
        self.loss = loss
        self.random = random.Random(seed)
        self.loop = asyncio.get_running_loop()
        self.packets: list[bytes] = []
        self.client = Side(Role.CLIENT, self, **options)
        self.server = Side(Role.SERVER, self, **options)

    def carry(self, sender: Side, packet: bytes) -> None:
        self.packets.append(packet)
        receiver = self.server if sender is self.client else self.client
        if self.random.random() >= self.loss:
            delay_s = 0.01 + self.random.random() * self.loss / 10
            self.loop.call_later(delay_s, receiver.handle, packet)

    async def start(self) -> None:
        await self.client.channels.start()
        await self.server.channels.start()

    async def stop(self) -> None:
        self.client.channels.close()
        self.server.channels.close()
        await asyncio.sleep(0)
        await asyncio.sleep(1)  # virtual: what is on the way arrives at closed ends


async def until(condition: Callable[[], bool], limit_s: float = 600.0) -> None:
    """Let virtual time pass until `condition`; fails after `limit_s` of it."""
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.02)


async def connected(wire: Wire, label: str = "oai-events") -> Wire:
    await wire.start()
    wire.client.channels.open(label)
    await until(lambda: label in wire.server.opened and label in wire.client.opened)
    return wire


CONTENTS: list[str | bytes] = [
    "text",
    "",
    "ünïcode 🎙",
    b"binary",
    b"",
    b"\x00" * 200_000,
    "e" * 9999,
]


@pytest.mark.parametrize("seed", range(12))
def test_messages_survive_loss_whole_and_in_order(run: Run, seed: int) -> None:
    """Text, binary, empty and large messages cross both ways with a fifth of the packets lost."""

    async def scenario() -> None:
        wire = await connected(Wire(seed, loss=0.2))
        for content in CONTENTS:
            assert wire.client.channels.send("oai-events", content)
            assert wire.server.channels.send("oai-events", content)
        expected = [("oai-events", content) for content in CONTENTS]
        await until(lambda: len(wire.server.heard) == len(wire.client.heard) == len(CONTENTS))
        assert wire.server.heard == wire.client.heard == expected
        await wire.stop()
        assert (wire.client.closes, wire.server.closes) == (1, 1)

    run(scenario())


def test_either_side_opens_channels(run: Run) -> None:
    """The server may open one too; each is heard under its own label."""

    async def scenario() -> None:
        wire = await connected(Wire())
        wire.server.channels.open("from-us")
        await until(lambda: "from-us" in wire.client.opened)
        assert wire.client.channels.labels == {"oai-events", "from-us"}
        assert wire.client.channels.send("from-us", "hi")
        await until(lambda: bool(wire.server.heard))
        assert wire.server.heard == [("from-us", "hi")]
        assert not wire.client.channels.dropped + wire.server.channels.dropped
        await wire.stop()

    run(scenario())


def test_packets_fit_a_dtls_datagram(run: Run) -> None:
    """No SCTP packet is longer than DTLS takes, whatever the message."""

    async def scenario() -> None:
        wire = await connected(Wire())
        assert wire.client.channels.send("oai-events", b"x" * 100_000)
        await until(lambda: bool(wire.server.heard))
        assert max(map(len, wire.packets)) <= 1189
        await wire.stop()

    run(scenario())


def test_closing_while_data_is_on_the_way_leaves_nothing(run: Run) -> None:
    """With messages queued, lost and unacknowledged, close leaves no timer or task."""

    async def scenario() -> None:
        wire = await connected(Wire(3, loss=0.3))
        for _ in range(4):
            wire.client.channels.send("oai-events", b"x" * 250_000)
        await asyncio.sleep(0.5)
        assert wire.client.channels.send("oai-events", "just scheduled")
        wire.client.channels.close()
        loop = asyncio.get_running_loop()
        assert isinstance(loop, JumpingLoop)
        wire.server.channels.close()
        await asyncio.sleep(0)  # what was scheduled finds nothing to do
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await asyncio.sleep(1)
        assert loop.live_timers() == 0
        assert not wire.client.channels.send("oai-events", "late")
        wire.client.channels.close()
        assert (wire.client.closes, wire.server.closes) == (1, 1)

    run(scenario())


def test_the_end_by_the_peer_leaves_nothing(run: Run) -> None:
    """An ABORT from the peer ends ours at once, with data queued; later packets are counted."""

    async def scenario() -> None:
        wire = await connected(Wire())
        assert wire.server.channels.send("oai-events", b"x" * 250_000)
        wire.client.channels.close()
        await until(lambda: wire.server.closes == 1)
        assert not wire.server.channels.labels
        await asyncio.sleep(1)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, JumpingLoop)
        assert loop.live_timers() == 0
        wire.server.handle(wire.packets[0])
        assert wire.server.channels.dropped["sctp_ended"] >= 1

    run(scenario())


def test_closing_right_after_a_retransmission_timer_leaves_nothing(run: Run) -> None:
    """What the timer has scheduled finds nothing to send, so it starts no timer of its own."""

    async def scenario() -> None:
        wire = await connected(Wire())
        assert wire.client.channels.send("oai-events", b"x" * 250_000)
        await asyncio.sleep(0)
        wire.client.channels._association._t3_expired()
        await wire.stop()

    run(scenario())


def test_an_association_nobody_answers_ends(run: Run) -> None:
    """The INIT is repeated a bounded number of times; then `on_close` is told."""

    async def scenario() -> None:
        wire = Wire(loss=1.0)
        await wire.client.channels.start()
        await until(lambda: wire.client.closes == 1)
        assert len(wire.packets) == 9

    run(scenario())


def test_starting_and_closing_at_once_leaves_nothing(run: Run) -> None:
    """Closed before the peer answered, and closed before start."""

    async def scenario() -> None:
        wire = Wire()
        await wire.client.channels.start()
        wire.client.channels.open("never")
        wire.client.channels.close()
        wire.server.channels.close()
        await asyncio.sleep(1)

    run(scenario())


def test_the_buffer_is_bounded(run: Run) -> None:
    """Sending says no beyond 1 MiB, or 4096 messages, and yes again when it has drained."""

    async def scenario() -> None:
        wire = await connected(Wire())
        taken = 0
        while wire.client.channels.send("oai-events", b"x" * 65536):
            taken += 1
        assert taken * 65536 == data_channels.MAX_BUFFERED_BYTES
        await until(lambda: len(wire.server.heard) == taken)
        taken = 0
        while wire.client.channels.send("oai-events", ""):
            taken += 1
        assert taken == data_channels.MAX_BUFFERED_MESSAGES
        await wire.stop()

    run(scenario())


def test_what_cannot_be_sent(run: Run) -> None:
    """An unknown label and a message above the peer's limit, counted in bytes, are refused."""

    async def scenario() -> None:
        wire = await connected(Wire(remote_max_message_size=1000))
        assert not wire.client.channels.send("other", "x")
        assert not wire.client.channels.send("oai-events", "é" * 501)
        assert wire.client.channels.send("oai-events", "é" * 500)
        await wire.stop()

    run(scenario())


def test_no_limit_of_the_peer_is_our_limit(run: Run) -> None:
    """max-message-size 0 means any, and ours still holds: 256 KiB and not a byte more."""

    async def scenario() -> None:
        wire = await connected(Wire(remote_max_message_size=0))
        assert not wire.client.channels.send("oai-events", bytes(sctp.MAX_MESSAGE_BYTES + 1))
        assert wire.client.channels.send("oai-events", bytes(sctp.MAX_MESSAGE_BYTES))
        await until(lambda: bool(wire.server.heard))
        await wire.stop()

    run(scenario())


def test_channels_are_bounded(run: Run) -> None:
    """64 channels open; our own 65th is an error, and a peer's is not answered."""

    async def scenario() -> None:
        wire = await connected(Wire())
        for number in range(sctp.MAX_CHANNELS - 1):
            wire.client.channels.open(f"channel-{number}")
        with pytest.raises(ValueError, match="64"):
            wire.client.channels.open("one too many")
        await until(lambda: len(wire.server.opened) == sctp.MAX_CHANNELS)
        RTCDataChannel(
            wire.client.channels._association, RTCDataChannelParameters(label="one too many")
        )
        await until(lambda: wire.server.channels.dropped["sctp_channel_limit"] == 1)
        assert len(wire.server.channels.labels) == sctp.MAX_CHANNELS
        await wire.stop()

    run(scenario())


def test_labels_are_ascii_and_short(run: Run) -> None:
    """Ours must be ASCII; a peer's must not be longer than 256 bytes."""

    async def scenario() -> None:
        wire = await connected(Wire())
        with pytest.raises(ValueError, match="ASCII"):
            wire.client.channels.open("ünïcode")
        wire.client.channels.open("l" * 257)
        await until(lambda: wire.server.channels.dropped["sctp_label"] == 1)
        await wire.stop()

    run(scenario())


def test_a_channel_closed_by_the_peer_can_be_opened_again(run: Run) -> None:
    """The stream is reset on both sides, its label is gone, and the same label opens anew."""

    async def scenario() -> None:
        wire = await connected(Wire())
        wire.client.channels._channels["oai-events"].close()
        await until(lambda: not wire.server.channels.labels and not wire.client.channels.labels)
        assert not wire.server.channels.send("oai-events", "x")
        wire.client.channels.open("oai-events")
        await until(lambda: wire.client.opened.count("oai-events") == 2)
        assert wire.server.channels.send("oai-events", "again")
        await until(lambda: wire.client.heard == [("oai-events", "again")])
        await wire.stop()

    run(scenario())


def test_two_channels_of_one_label(run: Run) -> None:
    """Both are heard; the first one is spoken to."""

    async def scenario() -> None:
        wire = await connected(Wire(), "twin")
        first = wire.client.channels._channels["twin"]
        wire.client.channels.open("twin")
        await until(lambda: wire.server.opened == ["twin", "twin"])
        assert wire.client.channels._channels["twin"] is first
        assert wire.client.channels.labels == {"twin"}
        await wire.stop()

    run(scenario())


def test_a_failing_callback_is_told(run: Run) -> None:
    """An error in our own callback goes to `on_fault`; the next message still comes."""

    def fail_once(_label: str, content: str | bytes) -> None:
        if content == "bad":
            raise KeyError(content)

    async def scenario() -> None:
        wire = await connected(Wire(on_message=fail_once))
        for content in ("bad", "good"):
            assert wire.client.channels.send("oai-events", content)
        await until(lambda: wire.server.faults != [])
        assert [type(error) for error in wire.server.faults] == [KeyError]
        await wire.stop()

    run(scenario())


def test_aiortc_talks_to_us(run: Run) -> None:
    """aiortc's unchanged transport opens a channel, and messages cross both ways."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        heard: list[tuple[str, str | bytes]] = []
        ours = DataChannels(
            Role.SERVER,
            remote_port=5000,
            remote_max_message_size=65536,
            send=lambda packet: loop.create_task(theirs._handle_data(packet)),
            on_message=lambda label, content: heard.append((label, content)),
            on_open=lambda label: None,
            on_close=lambda: None,
            on_fault=fault,
        )
        pipe = sctp.DtlsPipe("client", ours.handle_data, ours.dropped)
        theirs = RTCSctpTransport(pipe)  # type: ignore[arg-type]
        await theirs.start(RTCSctpCapabilities(maxMessageSize=262144), 5000)
        await ours.start()
        channel = RTCDataChannel(theirs, RTCDataChannelParameters(label="oai-events"))
        answers: list[str] = []
        channel.on("message", answers.append)
        await until(lambda: channel.readyState == "open")
        channel.send("to us")
        assert ours.send("oai-events", "to them")
        await until(lambda: bool(heard and answers))
        assert (heard, answers) == ([("oai-events", "to us")], ["to them"])
        await theirs.stop()
        ours.close()
        await asyncio.sleep(1)

    run(scenario())


# A hostile peer


def packet(tag: int, *chunks: bytes) -> bytes:
    body = b"".join(chunk + bytes(-len(chunk) % 4) for chunk in chunks)
    header = struct.pack("!HHL", 5000, 5000, tag)
    return header + struct.pack("<L", crc32c(header + bytes(4) + body)) + body


def chunk(kind: int, body: bytes = b"", flags: int = 0, length: int | None = None) -> bytes:
    return struct.pack("!BBH", kind, flags, 4 + len(body) if length is None else length) + body


def data(
    tsn: int, payload: bytes, stream: int = 0, ppid: int = 51, flags: int = 3, sequence: int = 0
) -> bytes:
    return chunk(0, struct.pack("!LHHL", tsn, stream, sequence, ppid) + payload, flags)


HOSTILE_CHUNKS = {
    "a parameter of length 0 in INIT": chunk(1, bytes(16) + bytes(4)),
    "a parameter of length 0 in HEARTBEAT": chunk(4, bytes(4)),
    "a parameter of length 0 in ABORT": chunk(6, bytes(4)),
    "a parameter of length 0 in RE-CONFIG": chunk(130, bytes(4)),
    "a parameter beyond its chunk": chunk(4, b"\x00\x01\x00\xff"),
    "a short RE-CONFIG parameter": chunk(130, b"\x00\x0d\x00\x08" + bytes(4)),
    "an odd RE-CONFIG parameter": chunk(130, b"\x00\x0d\x00\x11" + bytes(13)),
    "a short INIT": chunk(1, bytes(8)),
    "an INIT with company": chunk(1, bytes(16)) + chunk(11),
    "a short DATA": chunk(0, bytes(4), 3),
    "an empty DATA": data(1, b""),
    "a stream too high": data(1, b"x", stream=1024),
    "a short SACK": chunk(3, bytes(4)),
    "a SACK that counts wrong": chunk(3, bytes(8) + struct.pack("!HH", 9, 0)),
    "overlapping gaps": chunk(3, bytes(8) + struct.pack("!HHHHHH", 2, 0, 2, 9, 3, 10)),
    "a backward gap": chunk(3, bytes(8) + struct.pack("!HHHH", 1, 0, 9, 2)),
    "a short FORWARD TSN": chunk(192, bytes(2)),
    "a FORWARD TSN cut": chunk(192, bytes(6)),
    "a FORWARD TSN of a high stream": chunk(192, bytes(4) + b"\xff\xff\x00\x00"),
    "a short SHUTDOWN": chunk(7),
    "a chunk of length 0": chunk(11, length=0),
    "a chunk beyond its packet": chunk(11, length=400),
}


@pytest.mark.parametrize("name", HOSTILE_CHUNKS)
def test_malformed_chunks_are_screened(name: str) -> None:
    """Each never reaches the parser; the same reason word counts them all."""
    assert screen(packet(1, HOSTILE_CHUNKS[name])) == "sctp_malformed"


def test_the_screen_bounds_size_and_chunks() -> None:
    """A packet with too many chunks, too short or too long is dropped with its own reason."""
    assert screen(packet(1, *[chunk(11)] * MAX_CHUNKS)) is None
    assert screen(packet(1, *[chunk(11)] * (MAX_CHUNKS + 1))) == "sctp_too_many_chunks"
    assert screen(packet(1)) == "sctp_size"
    assert screen(packet(1, data(1, bytes(3000)))) == "sctp_size"


def test_everything_honest_passes_the_screen(run: Run) -> None:
    """No packet of two honest peers, loss and channel resets included, is ever dropped."""

    async def scenario() -> None:
        wire = await connected(Wire(8, loss=0.2))
        for content in CONTENTS:
            wire.client.channels.send("oai-events", content)
        await until(lambda: len(wire.server.heard) == len(CONTENTS))
        wire.client.channels._channels["oai-events"].close()
        await until(lambda: not wire.server.channels.labels)
        assert all(screen(each) is None for each in wire.packets)
        await wire.stop()

    run(scenario())


class Attack:
    """A connected pair whose client end is now in hostile hands."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.victim = wire.server
        self.association = wire.server.channels._association
        assert self.association._last_received_tsn is not None
        self.tsn: int = self.association._last_received_tsn

    def hit(self, *chunks: bytes) -> None:
        self.victim.handle(packet(self.association._local_verification_tag, *chunks))

    @property
    def dropped(self) -> dict[str, int]:
        return dict(self.victim.channels.dropped)

    async def still_works(self) -> None:
        """The victim still delivers the next message in order."""
        self.hit(
            data(
                self.tsn + 1, b"fine", sequence=self.association._inbound_streams[0].sequence_number
            )
        )
        assert self.victim.heard[-1] == ("oai-events", "fine")
        await self.wire.stop()


def attack(run: Run, hits: Callable[[Attack], None], reason: str) -> None:
    async def scenario() -> None:
        attacker = Attack(await connected(Wire()))
        hits(attacker)
        assert attacker.dropped[reason] >= 1
        await attacker.still_works()

    run(scenario())


def test_text_that_is_not_utf_8(run: Run) -> None:
    """The message is dropped and acknowledged; the stream goes on."""

    def hits(attacker: Attack) -> None:
        sequence = attacker.association._inbound_streams[0].sequence_number
        attacker.hit(data(attacker.tsn + 1, b"\xff\xfe", sequence=sequence))
        attacker.tsn += 1
        assert attacker.association._last_received_tsn == attacker.tsn

    attack(run, hits, "sctp_message")


@pytest.mark.parametrize(
    ("payload", "stream", "reason"),
    [
        (struct.pack("!BBHLHH", 3, 0, 0, 0, 1, 0) + b"x", 0, "sctp_channel_reopened"),
        (b"\x02", 9, "sctp_no_channel"),
        (b"\x03", 9, "sctp_message"),
        (b"\x07", 9, "sctp_message"),
        (struct.pack("!BBHLHH", 3, 0, 0, 0, 2, 0) + b"\xff\xff", 9, "sctp_message"),
    ],
)
def test_hostile_channel_control(run: Run, payload: bytes, stream: int, reason: str) -> None:
    """A second OPEN, an ACK of nothing and OPENs cut short or misspelt are counted, no more."""

    def hits(attacker: Attack) -> None:
        streams = attacker.association._inbound_streams
        sequence = streams[stream].sequence_number if stream in streams else 0
        attacker.tsn += 1
        attacker.hit(data(attacker.tsn, payload, stream, ppid=50, sequence=sequence))

    attack(run, hits, reason)


def test_a_gap_beyond_what_was_sent(run: Run) -> None:
    """A SACK about 65,535 packets nobody sent is not walked through."""

    def hits(attacker: Attack) -> None:
        acked = (attacker.association._local_tsn - 1) % 2**32
        for cumulative, gaps in ((acked, (1, 65535)), (acked + 1, ())):
            counts = struct.pack("!LLHH", cumulative % 2**32, 1000, len(gaps) // 2, 0)
            attacker.hit(chunk(3, counts + struct.pack(f"!{len(gaps)}H", *gaps)))
        assert attacker.dropped == {"sctp_sack": 2}

    attack(run, hits, "sctp_sack")


def test_a_tsn_far_ahead(run: Run) -> None:
    """It would make an acknowledgement that no field can hold."""
    attack(run, lambda attacker: attacker.hit(data(attacker.tsn + 40_000, b"x")), "sctp_tsn")


def test_a_hole_that_is_never_filled(run: Run) -> None:
    """Behind a hole a bounded number of chunks is kept; filling the hole lets it go on."""

    def hits(attacker: Attack) -> None:
        sequence = attacker.association._inbound_streams[0].sequence_number
        for number in range(2, 3000):
            attacker.hit(data(attacker.tsn + number, b"x", sequence=sequence + number - 1))
        held = sum(len(s.reassembly) for s in attacker.association._inbound_streams.values())
        assert held == sctp.MAX_HELD_CHUNKS
        attacker.hit(data(attacker.tsn + 1, b"x", sequence=sequence))
        attacker.tsn = attacker.association._last_received_tsn or 0
        assert len(attacker.victim.heard) == sctp.MAX_HELD_CHUNKS + 1

    attack(run, hits, "sctp_held_limit")


def test_a_message_that_never_ends(run: Run) -> None:
    """One byte a chunk without an end: the association is aborted, and nothing is kept."""

    async def scenario() -> None:
        attacker = Attack(await connected(Wire()))
        attacker.hit(data(attacker.tsn + 1, b"x", flags=2))
        for number in range(2, 2 * sctp.MAX_HELD_CHUNKS + 10):
            attacker.hit(data(attacker.tsn + number, b"x", flags=0))
        assert attacker.dropped["sctp_held_limit"] == 1
        assert attacker.victim.closes == 1
        await attacker.wire.stop()

    run(scenario())


def test_a_message_too_large(run: Run) -> None:
    """More than 256 KiB is not delivered, and the next message is."""

    def hits(attacker: Attack) -> None:
        sequence = attacker.association._inbound_streams[0].sequence_number
        for number in range(1, 302):
            flags = {1: 2, 301: 1}.get(number, 0)
            attacker.hit(data(attacker.tsn + number, bytes(1000), flags=flags, sequence=sequence))
        attacker.tsn += 301
        assert not attacker.victim.heard

    attack(run, hits, "sctp_message_size")


def test_what_follows_an_abort_is_not_obeyed(run: Run) -> None:
    """A SHUTDOWN bundled behind an ABORT would start a timer that nobody stops."""

    async def scenario() -> None:
        attacker = Attack(await connected(Wire()))
        attacker.hit(chunk(6), chunk(7, bytes(4)))
        assert attacker.victim.closes == 1
        await attacker.wire.stop()

    run(scenario())


@pytest.mark.parametrize("seed", range(4))
def test_noise_never_raises(run: Run, seed: int) -> None:
    """Random chunks with a right tag and checksum, and bit flips of real packets, are survived."""

    async def scenario() -> None:
        dice = random.Random(seed)
        wire = await connected(Wire())
        attacker = Attack(wire)
        for _ in range(1500):
            kind = dice.choice((*range(15), 64, 130, 192, 255))
            body = dice.randbytes(dice.choice((0, 4, 8, 12, 16, 20, 40)))
            attacker.hit(chunk(kind, body, dice.randrange(8)))
            flipped = bytearray(dice.choice(wire.packets[:20]))
            flipped[dice.randrange(len(flipped))] ^= 1 << dice.randrange(8)
            attacker.victim.handle(bytes(flipped))
            attacker.victim.handle(dice.randbytes(dice.randrange(60)))
        await wire.stop()

    run(scenario())
