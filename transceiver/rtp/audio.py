"""The audio of one call: SRTP, the reorder window, the paced sender and their reports.

Pure but for libsrtp. It exists from the start of the call, so that the backend may speak before
the caller is there; until `start` brings keys, what it says waits.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable

from transceiver.counters import Counted
from transceiver.rtp import red
from transceiver.rtp.jitter_buffer import JitterBuffer
from transceiver.rtp.opus import CLOCK_HZ
from transceiver.rtp.receive import Frame, ReorderWindow
from transceiver.rtp.reports import Learned, Reports
from transceiver.rtp.send import PacedSender
from transceiver.rtp.statistics import ReceptionStatistics
from transceiver.takeover.resumed_srtp import resumed_srtp
from transceiver.takeover.session_state import AudioState, Reserve
from transceiver.transport.srtp import SrtpSession
from wire import rtcp, rtp
from wire.errors import WireError

_NOTHING = Learned()


class AudioStream:
    """Both directions of one call's audio, as SRTP and SRTCP packets on the outside.

    `unix_offset_s` is Unix time less the clock of every `now`; `random` gives numbers 0–1 that
    spread the reports. What cannot be used is counted by reason in `dropped`.
    """

    def __init__(
        self,
        payload_type: int,
        cname: str,
        unix_offset_s: float,
        random: Callable[[], float],
        red_payload_type: int | None = None,
    ) -> None:
        self.dropped: Counter[str] = Counter()
        self.received = 0
        self.sender = _sender(payload_type, red_payload_type)
        self.recovered = 0  # packets that came with a later one only
        self._make_window: type[ReorderWindow] | type[JitterBuffer] = ReorderWindow
        self.window: ReorderWindow | JitterBuffer = ReorderWindow()
        self.heard: ReceptionStatistics | None = None
        self.reports: Reports | None = None
        self._payload_type = payload_type
        self._red_payload_type = red_payload_type
        self._cname = cname
        self._unix_offset_s = unix_offset_s
        self._random = random
        self._srtp: SrtpSession | None = None
        # Of streams that another SSRC has replaced.
        self._lost_before = self._late_before = self._duplicates_before = 0
        self._left_out_before = 0
        self._waited_before_s = 0.0
        self._transit: int | None = None
        self._shift = 0  # from the caller's timestamps to those the backend hears

    @property
    def started(self) -> bool:
        """Whether there are keys."""
        return self._srtp is not None

    @property
    def lost(self) -> int:
        """Packets of the caller that did not come, over the whole call, never negative."""
        return self._lost_before + max(0, self.heard.lost if self.heard else 0)

    @property
    def late(self) -> int:
        """Packets that came after their hole had been given up."""
        return self._late_before + self.window.late

    @property
    def duplicates(self) -> int:
        """Packets that came twice."""
        return self._duplicates_before + self.window.duplicates

    @property
    def left_out(self) -> int:
        """Packets of the caller that a decoder was spared, to be on time again after a stall."""
        return self._left_out_before + self.window.left_out

    @property
    def waited_s(self) -> float:
        """What packets have waited for others before them, all together."""
        return self._waited_before_s + self.window.waited_s

    @property
    def round_trip_s(self) -> float | None:
        """To the caller and back, by its newest report; None before it answered one of ours."""
        return self.reports.round_trip_s if self.reports is not None else None

    def fill_holes(self) -> None:
        """Receive for a decoder: frames come from a jitter buffer. Before the first packet."""
        self._make_window = JitterBuffer
        self.window = JitterBuffer()

    def start(self, srtp: SrtpSession, now: float) -> None:
        """Keys are there: packets may flow both ways, reports begin."""
        self._srtp = srtp
        srtp.dropped = self.dropped
        self.reports = Reports(self.sender, self._cname, now, self._unix_offset_s, self._random)

    def export(self, now: float) -> AudioState:
        """Both directions as a value. Raises RuntimeError before `start` and after the goodbye."""
        srtp = self._srtp
        if srtp is None:
            raise RuntimeError("a stream can be exported while it has keys")
        return AudioState(
            send=self.sender.export(now),
            heard=self.heard.export() if self.heard else None,
            received=self.received,
            recovered=self.recovered,
            lost_before=self._lost_before,
            shift=self._shift,
            srtp=srtp.export(),
        )

    def resume(self, state: AudioState, exported_s: float, now: float, reserve: Reserve) -> None:
        """Go on with the streams of another process, which it exported at `exported_s`."""
        self.sender.resume(state.send, exported_s, reserve.rtp_packets)
        self.received, self.recovered = state.received, state.recovered
        self._lost_before, self._shift = state.lost_before, state.shift
        if state.heard is not None:
            self.heard = ReceptionStatistics.resumed(state.heard)
            if isinstance(self.window, ReorderWindow):
                self.window.expect(state.heard.highest + 1)
        self.start(resumed_srtp(state, reserve), now)

    def stop(self) -> None:
        """Send and hear nothing more, and say no goodbye: another process goes on."""
        self._srtp = None

    def receive_rtp(self, packet: bytes, now: float) -> list[Frame]:
        """The frames that an SRTP packet lets go, in order."""
        if self._srtp is None:
            self.dropped[Counted.RTP_BEFORE_KEYS] += 1
            return []
        opened = self._srtp.unprotect_rtp(packet)
        if opened is None:
            return []
        try:
            payload_type, _, sequence, timestamp, ssrc, payload = rtp.read(opened)
        except WireError as error:
            self.dropped[error.reason] += 1
            return []
        blocks: list[red.Block] = []
        if payload_type != self._payload_type:
            blocks = self._read_red(payload_type, payload)
            if not blocks:
                return []
            payload = blocks.pop().payload
        frames: list[Frame] = []
        heard = self.heard
        if heard is None or heard.ssrc != ssrc:
            frames = self._restart()
            self._shift = self._continue_time(timestamp, now)
            heard = self.heard = ReceptionStatistics(ssrc, sequence)
        if self._shift:
            timestamp = (timestamp + self._shift) & 0xFFFF_FFFF
        heard.note(sequence, timestamp, now)
        self.received += 1
        if blocks:
            frames += self._recover(blocks, sequence, timestamp, now)
        in_order = self.window.push(sequence, timestamp, payload, now)
        return frames + in_order if frames else in_order

    def _read_red(self, payload_type: int, payload: bytes) -> list[red.Block]:
        if payload_type != self._red_payload_type:
            self.dropped[Counted.RTP_PAYLOAD_TYPE] += 1
            return []
        try:
            blocks = red.read(payload)
        except WireError as error:
            self.dropped[error.reason] += 1
            return []
        if blocks[-1].payload_type != self._payload_type:
            self.dropped[Counted.RED_PAYLOAD_TYPE] += 1
            return []
        return blocks

    def _recover(
        self, copies: list[red.Block], sequence: int, timestamp: int, now: float
    ) -> list[Frame]:
        # The copies are of the packets right before, in order: RFC 2198 has no sequence numbers.
        frames: list[Frame] = []
        for index, copy in enumerate(copies):
            if not copy.payload or copy.payload_type != self._payload_type:
                continue
            of = (sequence - len(copies) + index) & 0xFFFF
            at = (timestamp - copy.offset) & 0xFFFF_FFFF
            held = len(self.window)
            taken = self.window.recover(of, at, copy.payload, now)
            self.recovered += bool(taken) or len(self.window) > held
            frames += taken
        return frames

    def receive_rtcp(self, packet: bytes, now: float) -> tuple[Learned, list[Frame]]:
        """What an SRTCP packet says; a BYE of the caller's stream lets go what was held."""
        if self._srtp is None or self.reports is None:
            self.dropped[Counted.RTCP_BEFORE_KEYS] += 1
            return _NOTHING, []
        opened = self._srtp.unprotect_rtcp(packet)
        if opened is None:
            return _NOTHING, []
        try:
            learned = self.reports.read(rtcp.read(opened), now)
        except WireError as error:
            self.dropped[error.reason] += 1
            return _NOTHING, []
        return learned, self._restart() if learned.goodbye else []

    def poll(self, now: float) -> list[bytes]:
        """Protected packets to send now: due frames, then a due report."""
        srtp, reports = self._srtp, self.reports
        if srtp is None or reports is None:
            return []
        frame = self.sender.poll(now)
        packets = [] if frame is None else [srtp.protect_rtp(frame)]
        if now >= reports.next_s:
            compound = reports.poll(now, self.heard)
            if compound is not None:
                packets.append(srtp.protect_rtcp(compound))
        return packets

    def due_s(self, now: float) -> float | None:
        """When `poll` or the window's `expire` will have something; None before `start`."""
        if self.reports is None:
            return None
        due_s = self.reports.next_s
        sender_s, window_s = self.sender.due_s(now), self.window.deadline_s()
        if sender_s is not None and sender_s < due_s:
            due_s = sender_s
        return due_s if window_s is None else min(due_s, window_s)

    def goodbye(self, now: float) -> bytes | None:
        """The protected BYE (RFC 3550 §6.6), once; nothing flows after it."""
        if self._srtp is None or self.reports is None:
            return None
        packet = self._srtp.protect_rtcp(self.reports.goodbye(now, self.heard))
        self._srtp = None
        return packet

    def _restart(self) -> list[Frame]:
        """Another stream begins: its numbers have nothing to do with those before."""
        frames = self.window.flush()
        self._lost_before = self.lost
        self._late_before, self._duplicates_before = self.late, self.duplicates
        self._left_out_before = self.left_out
        self._waited_before_s = self.waited_s
        if self.heard is not None:
            self._transit = self.heard.transit
        self.heard = None
        self.window = self._make_window()
        return frames

    def _continue_time(self, timestamp: int, now: float) -> int:
        """The shift that makes a new stream go on where the one before would be by now.

        RFC 3550 §5.1: each source begins at a random timestamp. To the backend it is one voice,
        and a leap of hours would be a pause of hours.
        """
        if self._transit is None:
            return 0
        return (int(now * CLOCK_HZ) - self._transit - timestamp) & 0xFFFF_FFFF


def _sender(payload_type: int, red_payload_type: int | None) -> PacedSender:
    # RFC 3550 §5.1: random first numbers. The sequence starts in the lower half, so that the
    # first packets cannot wrap before the receiver has seen one (RFC 3711 §3.3.1).
    return PacedSender(
        ssrc=secrets.randbelow(0xFFFF_FFFF) + 1,
        payload_type=payload_type,
        sequence=secrets.randbelow(0x8000),
        timestamp=secrets.randbelow(1 << 32),
        red_payload_type=red_payload_type,
    )
