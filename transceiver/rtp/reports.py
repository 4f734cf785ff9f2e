"""RTCP of one session: when to report, what to report, what to learn (RFC 3550 §6).

Two parties and one stream each way, so the bandwidth rules of §6.2 come down to the reduced
minimum interval; it is spread over half to one and a half times its length (§6.3.1), that
processes with many calls do not report all at once. The first report is early, because the round
trip is not known before it has been answered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from transceiver.rtp.send import PacedSender
from transceiver.rtp.statistics import ReceptionStatistics
from wire import rtcp
from wire.rtcp import (
    Goodbye,
    ReceiverReport,
    ReportBlock,
    RtcpPacket,
    SenderReport,
    SourceDescription,
)

FIRST_INTERVAL_S = 1.0
INTERVAL_S = 2.5
MAX_ROUND_TRIP_S = 30.0  # a report that claims more is wrong, or from before a restart


@dataclass(frozen=True)
class Learned:
    """What a compound of the caller said."""

    acknowledged: bool = False  # the played-out position moved on
    goodbye: bool = False  # the caller's stream has ended (§6.6)


class Reports:
    """Writes our reports and reads the caller's.

    `unix_offset_s` is Unix time less the clock of `now`; `random` gives numbers from 0 to 1.
    """

    def __init__(
        self,
        sender: PacedSender,
        cname: str,
        now: float,
        unix_offset_s: float,
        random: Callable[[], float],
    ) -> None:
        self.round_trip_s: float | None = None  # None until it was measured
        self.lost = 0  # packets of ours, as the caller says
        self.jitter = 0  # of ours there, in 48 kHz ticks
        self.next_s = now + FIRST_INTERVAL_S * (0.5 + random())
        self._sender = sender
        self._cname = cname
        self._unix_offset_s = unix_offset_s
        self._random = random
        self._remote_sr: tuple[int, float] | None = None  # middle 32 bits, when it came
        self._reported_packets = 0  # ours, at the last report

    def poll(self, now: float, heard: ReceptionStatistics | None) -> bytes | None:
        """The compound that is due, or None: SR or RR on `heard`, then SDES (§6.1)."""
        if now < self.next_s:
            return None
        self.next_s = now + INTERVAL_S * (0.5 + self._random())
        return rtcp.write((self._report(now, heard), self._description()))

    def goodbye(self, now: float, heard: ReceptionStatistics | None) -> bytes:
        """The last compound: a report, SDES and BYE (§6.6)."""
        return rtcp.write(
            (self._report(now, heard), self._description(), Goodbye((self._sender.ssrc,)))
        )

    def read(self, packets: tuple[RtcpPacket, ...], now: float) -> Learned:
        """Take in a compound of the caller."""
        acknowledged = goodbye = False
        for packet in packets:
            if isinstance(packet, SenderReport):
                self._remote_sr = (rtcp.middle_32(packet.ntp_time), now)
            if isinstance(packet, SenderReport | ReceiverReport):
                acknowledged = self._read_blocks(packet.reports, now) or acknowledged
            goodbye = goodbye or isinstance(packet, Goodbye)
        return Learned(acknowledged, goodbye)

    def _read_blocks(self, blocks: tuple[ReportBlock, ...], now: float) -> bool:
        acknowledged = False
        for block in blocks:
            if block.ssrc == self._sender.ssrc:
                acknowledged = self._sender.acknowledge(block) or acknowledged
                self.lost, self.jitter = max(0, block.packets_lost), block.jitter
                self._measure(block, now)
        return acknowledged

    def _measure(self, block: ReportBlock, now: float) -> None:
        # §6.4.1: A − LSR − DLSR, all in 1/65536 s and modulo 2^32.
        if not block.last_sr:
            return
        arrived = rtcp.middle_32(self._ntp(now))
        ticks = (arrived - block.last_sr - block.delay_since_last_sr) & 0xFFFF_FFFF
        # Both clocks round: a very short trip can come out a tick or two below nothing.
        round_trip_s = 0.0 if ticks >= 0x8000_0000 else ticks / 65536
        if round_trip_s <= MAX_ROUND_TRIP_S:
            self.round_trip_s = round_trip_s

    def _report(
        self, now: float, heard: ReceptionStatistics | None
    ) -> SenderReport | ReceiverReport:
        blocks = () if heard is None else (self._block(now, heard),)
        sender = self._sender
        if sender.packets == self._reported_packets:  # §6.4: RR when nothing was sent since
            return ReceiverReport(sender.ssrc, blocks)
        self._reported_packets = sender.packets
        return SenderReport(
            ssrc=sender.ssrc,
            ntp_time=self._ntp(now),
            rtp_time=sender.rtp_time(now),
            packet_count=sender.packets & 0xFFFF_FFFF,
            octet_count=sender.octets & 0xFFFF_FFFF,
            reports=blocks,
        )

    def _block(self, now: float, heard: ReceptionStatistics) -> ReportBlock:
        if self._remote_sr is None:
            return heard.report(0, 0)
        last_sr, arrived_s = self._remote_sr
        return heard.report(last_sr, int((now - arrived_s) * 65536) & 0xFFFF_FFFF)

    def _description(self) -> SourceDescription:
        return SourceDescription(self._sender.ssrc, self._cname)

    def _ntp(self, now: float) -> int:
        return rtcp.ntp_time(now + self._unix_offset_s)
