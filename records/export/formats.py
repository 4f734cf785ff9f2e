"""The formats by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from records.export.case import Case
from records.export.hep import write_hep
from records.export.otlp import write_otlp
from records.export.plain import write_json
from records.export.rtcstats import write_rtcstats


@dataclass(frozen=True, slots=True)
class Format:
    """How a format is written, and what its files are."""

    write: Callable[[Case], bytes]
    media_type: str
    suffix: str


FORMATS = {
    "json": Format(write_json, "application/json", ".json"),
    "otlp": Format(write_otlp, "application/json", ".otlp.json"),
    "rtcstats": Format(write_rtcstats, "application/jsonl", ".rtcstats.jsonl"),
    "hep": Format(write_hep, "application/octet-stream", ".hep"),
}
