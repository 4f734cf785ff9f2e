"""What both directions were like since the last report, from counters that are there anyway."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from transceiver.record.media_report import LASTING_S, OVERHEAD_BYTES, MediaReport, Totals
from transceiver.rtp.receive import ReorderWindow
from transceiver.rtp.statistics import ReceptionStatistics
from trunkline.v1 import record_pb2 as pb


def stream(**counts: Any) -> Any:
    """The counters of an AudioStream."""
    sender = SimpleNamespace(
        packets=counts.pop("sent", 0), octets=counts.pop("octets", 0), left_out=0
    )
    sender_type = type("Sender", (), {"__len__": lambda _self: 7, **vars(sender)})
    reports = SimpleNamespace(lost=counts.pop("sent_lost", 0), jitter=480, round_trip_s=0.03)
    members = {"received": 0, "lost": 0, "recovered": 0, "late": 0, "left_out": 0, "heard": None}
    return SimpleNamespace(
        **{**members, **counts},
        window=ReorderWindow(),
        sender=sender_type(),
        reports=reports,
        round_trip_s=0.03,
    )


def test_only_what_is_new_is_told() -> None:
    """The second report has what came since the first."""
    report = MediaReport(100.0, Totals())
    report.take(stream(received=500, lost=5, sent=400, octets=40_000), 110.0)
    from_caller, to_caller, sent_bytes = report.take(
        stream(received=990, lost=15, recovered=4, sent=900, octets=90_000, sent_lost=3), 120.0
    )
    assert (from_caller.packets, from_caller.lost, from_caller.recovered) == (490, 10, 4)
    assert from_caller.concealed_ms == (10 - 4) * 20
    assert (to_caller.packets, to_caller.lost, to_caller.waiting_frames) == (500, 3, 7)
    assert (to_caller.jitter_ms, to_caller.round_trip_ms) == (10, 30)
    assert from_caller.span_s == to_caller.span_s == 10
    assert sent_bytes == 50_000 + 500 * OVERHEAD_BYTES


def test_a_call_that_goes_on_here_begins_where_it_was() -> None:
    """What another process has told is not told again."""
    report = MediaReport(100.0, None)
    audio = stream(received=5000, sent=4000)
    assert list(report.gaps(audio, 100.5)) == []
    audio.received += 50
    from_caller, _, _ = report.take(audio, 110.0)
    assert from_caller.packets == 50


def test_a_counter_that_began_anew() -> None:
    """Another SSRC has another window: nothing negative is told."""
    report = MediaReport(100.0, Totals())
    report.take(stream(received=500, late=20), 110.0)
    from_caller, _, _ = report.take(stream(received=600, late=3), 120.0)
    assert from_caller.late == 3


def test_a_silence_that_lasts_is_told_once() -> None:
    """And when it is over, it is told as what it was."""
    report, audio = MediaReport(100.0, Totals()), stream()
    heard = audio.heard = ReceptionStatistics(1, 10)
    heard.note(10, 0, 100.0)
    assert list(report.gaps(audio, 100.0 + LASTING_S - 0.1)) == []
    ((_, lasting),) = report.gaps(audio, 104.0)
    assert (lasting.over, lasting.length_ms) == (False, 4000)
    assert list(report.gaps(audio, 104.5)) == []
    heard.note(11, 6 * 48_000, 106.0)
    ((until_s, gap),) = report.gaps(audio, 106.5)
    assert (until_s, gap.over, gap.kind) == (106.0, True, pb.GAP_KIND_NOT_SENT)
