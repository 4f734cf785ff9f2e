"""RTCP between two sides on virtual time: schedule, contents, round trip, goodbye."""

from __future__ import annotations

import pytest

from transceiver.rtp.reports import FIRST_INTERVAL_S, INTERVAL_S, Reports
from transceiver.rtp.send import PacedSender
from transceiver.rtp.statistics import ReceptionStatistics
from wire import rtcp
from wire.rtcp import Goodbye, ReceiverReport, ReportBlock, SenderReport, SourceDescription


def make(
    ssrc: int = 1, now: float = 0.0, unix_offset_s: float = 1.7e9, luck: float = 0.5
) -> Reports:
    return Reports(PacedSender(ssrc, 111, 0, 0), "rtc_x", now, unix_offset_s, lambda: luck)


def speak(reports: Reports, frames: int, now: float) -> None:
    sender = reports._sender
    for index in range(frames):
        sender.push(b"opus", 960, now + index * 0.02)
        assert sender.poll(now + index * 0.02) is not None


@pytest.mark.parametrize("luck", [0.0, 0.5, 0.999])
def test_the_first_report_is_early_and_the_others_are_spread(luck: float) -> None:
    """Half to one and a half times the interval, on both (RFC 3550 §6.3.1)."""
    reports = make(luck=luck)
    first_s = FIRST_INTERVAL_S * (0.5 + luck)
    assert reports.poll(first_s - 0.001, None) is None
    assert reports.poll(first_s, None) is not None
    assert reports.next_s == pytest.approx(first_s + INTERVAL_S * (0.5 + luck))


def test_a_silent_side_sends_rr_and_a_speaking_one_sr() -> None:
    """Both with SDES CNAME, as every compound must have (§6.1)."""
    reports = make()
    quiet = rtcp.read(reports.poll(1.0, None) or b"")
    assert quiet == (ReceiverReport(1), SourceDescription(1, "rtc_x"))
    speak(reports, 3, 2.0)
    spoken, _ = rtcp.read(reports.poll(4.0, None) or b"")
    assert isinstance(spoken, SenderReport)
    assert (spoken.packet_count, spoken.octet_count) == (3, 12)
    assert spoken.ntp_time == rtcp.ntp_time(1.7e9 + 4.0)
    assert spoken.rtp_time == pytest.approx(2 * 48000, abs=2)
    again, _ = rtcp.read(reports.poll(8.0, None) or b"")
    assert isinstance(again, ReceiverReport)


@pytest.mark.parametrize("trip_s", [0.0, 0.004, 0.25])
def test_the_round_trip_comes_from_lsr_and_dlsr(trip_s: float) -> None:
    """A − LSR − DLSR, whatever the two clocks say (§6.4.1)."""
    ours, theirs = make(1), make(2, unix_offset_s=5e8)
    speak(ours, 1, 0.0)
    sent_s, delay_s = 1.0, 0.7
    heard_s = sent_s + trip_s / 2
    heard = ReceptionStatistics(1, 0)
    theirs.read(rtcp.read(ours.poll(sent_s, None) or b""), heard_s)
    answer = theirs.poll(heard_s + delay_s, heard)
    ours.read(rtcp.read(answer or b""), heard_s + delay_s + trip_s / 2)
    assert ours.round_trip_s == pytest.approx(trip_s, abs=0.0001)


def test_a_report_from_before_our_first_says_nothing_of_the_round_trip() -> None:
    """LSR 0 means that no sender report was heard; a wild one is not believed."""
    reports = make()
    for last_sr in (0, 12345):
        block = ReportBlock(1, 0, 0, 0, 0, last_sr, 0)
        reports.read((ReceiverReport(9, (block,)),), 3.0)
        assert reports.round_trip_s is None


def test_a_report_moves_the_played_out_position_only_for_our_ssrc() -> None:
    """`acknowledged` says whether the backend should hear of it."""
    reports = make()
    speak(reports, 4, 0.0)
    other = ReceiverReport(9, (ReportBlock(99, 0, 0, 3, 0, 0, 0),))
    assert not reports.read((other,), 1.0).acknowledged
    own = ReceiverReport(9, (ReportBlock(1, 0, 0, 3, 0, 0, 0),))
    assert reports.read((own,), 1.0).acknowledged
    assert not reports.read((own,), 2.0).acknowledged


def test_goodbye_is_a_whole_compound_and_is_recognised() -> None:
    """A report first, then SDES, then BYE with our SSRC (§6.1, §6.6)."""
    packets = rtcp.read(make().goodbye(1.0, ReceptionStatistics(5, 0)))
    assert [type(packet) for packet in packets] == [ReceiverReport, SourceDescription, Goodbye]
    assert make(2).read(packets, 1.0).goodbye
    assert not make(2).read(packets[:2], 1.0).goodbye
