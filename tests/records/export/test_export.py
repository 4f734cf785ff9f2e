"""Exports are what their readers take, and have nothing of what was said unless it is asked for."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from records.diagnosis.story import tell
from records.export.case import Case
from records.export.formats import FORMATS
from records.export.hep import packets
from records.export.otlp import trace_id, usage_attributes
from tests.records.diagnosis.kit import BEGAN_US, Call, healthy
from trunkline.v1 import record_pb2 as pb


def case(call: Call) -> Case:
    ordered = sorted(call.events, key=lambda one: one.wall_us)
    return Case("rtc_1", tuple(ordered), call.contents, tell(call.events, call.contents))


def ended() -> Call:
    call = healthy()
    call.at(
        9,
        tool=pb.Tool(
            name="track",
            tool_call_id="c1",
            turn=1,
            duration_ms=300.0,
            outcome=pb.TOOL_OUTCOME_FAILED,
        ),
    )
    usage = [
        pb.Amount(kind=pb.USAGE_KIND_TEXT_INPUT_TOKENS, amount=40),
        pb.Amount(kind=pb.USAGE_KIND_AUDIO_CACHED_TOKENS, amount=2),
        pb.Amount(kind=pb.USAGE_KIND_AUDIO_OUTPUT_TOKENS, amount=7),
    ]
    call.at(8, usage=pb.UsageReport(model="m-1", response_id="r1", amounts=usage))
    call.ends(40)
    return call


def otlp(call: Call) -> list[dict[str, Any]]:
    (resource,) = json.loads(FORMATS["otlp"].write(case(call)))["resourceSpans"]
    spans: list[dict[str, Any]] = resource["scopeSpans"][0]["spans"]
    return spans


def attributes(span: dict[str, Any]) -> dict[str, Any]:
    return {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}


def test_a_call_is_one_trace() -> None:
    """Turns below the call, the model below its turn, a tool below the turn that called it."""
    spans = otlp(ended())
    by_id = {one["spanId"]: one for one in spans}
    assert len(by_id) == len(spans) == 6
    assert {one["traceId"] for one in spans} == {trace_id("rtc_1")}
    parents = [
        (one["name"], by_id[one["parentSpanId"]]["name"]) for one in spans if "parentSpanId" in one
    ]
    assert parents == [
        ("invoke_agent", "call"),
        ("chat m-1", "invoke_agent"),
        ("invoke_agent", "call"),
        ("chat m-1", "invoke_agent"),
        ("execute_tool track", "invoke_agent"),
    ]
    assert all(int(one["startTimeUnixNano"]) <= int(one["endTimeUnixNano"]) for one in spans)
    assert spans[-1]["status"]["code"] == 2
    assert int(spans[0]["startTimeUnixNano"]) == BEGAN_US * 1000


def test_names_are_those_of_the_conventions() -> None:
    """gen_ai.* for what they name; sums of tokens include their parts."""
    chat = attributes(otlp(ended())[2])
    assert chat["gen_ai.operation.name"] == "chat"
    assert chat["gen_ai.prompt.name"] == "greeter"
    assert chat["gen_ai.response.time_to_first_chunk"] == pytest.approx(0.19)
    assert chat["gen_ai.usage.input_tokens"] == "42"
    assert chat["gen_ai.usage.output_tokens"] == "7"
    assert chat["gen_ai.usage.audio.cache_read.input_tokens"] == "2"
    assert usage_attributes({}) == {}


def test_an_rtcstats_dump() -> None:
    """A header, an object with the version, then lines with deltas of time and growing counters."""
    first, second, *rest = FORMATS["rtcstats"].write(case(ended())).decode().splitlines()
    assert first == "RTCStatsDump"
    assert json.loads(second)["fileFormat"] == 3
    lines = [json.loads(one) for one in rest]
    assert lines[0][:2] == ["create", "rtc_1"]
    assert lines[0][3] == BEGAN_US // 1000
    assert sum(line[3] for line in lines) == BEGAN_US // 1000 + 40_000
    received = [one[2]["in"]["packetsReceived"] for one in lines if "in" in (one[2] or {})]
    assert received == [500, 1000, 1500]
    assert lines[-1][0] == "close"


def test_hep_packets() -> None:
    """Each says its length, and its chunks fill it: version, time, call id, payload."""
    told = ended()
    found = list(packets(case(told)))
    assert len(found) == len(told.events)
    for packet, event in zip(found, case(told).events, strict=True):
        assert packet[:4] == b"HEP3"
        assert struct.unpack("!H", packet[4:6]) == (len(packet),)
        chunks = dict(_chunks(packet[6:]))
        assert chunks[17] == b"rtc_1"
        assert struct.unpack("!I", chunks[9])[0] == event.wall_us // 1_000_000
        assert json.loads(chunks[15])["event"] == event.WhichOneof("body")


def _chunks(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while data:
        _, kind, length = struct.unpack("!HHH", data[:6])
        found.append((kind, data[6:length]))
        data = data[length:]
    return found


def test_only_json_has_what_was_said() -> None:
    """The others go to systems that are not asked for consent."""
    for name, form in FORMATS.items():
        assert (b"parcel" in form.write(case(ended()))) is (name == "json"), name


def test_a_call_of_which_little_is_known() -> None:
    """One event, or none at all, is a file as well."""
    call = Call()
    for form in FORMATS.values():
        assert isinstance(form.write(case(call)), bytes)
    call.at(0, media=pb.Media(level_dbov=float("nan"), jitter_ms=float("inf")))
    call.at(-3e9, placed=pb.Placed())
    for name in ("otlp", "rtcstats", "hep"):
        assert isinstance(FORMATS[name].write(case(call)), bytes)
