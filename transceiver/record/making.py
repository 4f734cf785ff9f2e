"""Puts together what writes the record, if this process is to write one."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from fleet.admin.process_admin import build_version
from fleet.record.redaction import BadHook, Content, redaction
from fleet.record.stream import RecordStream
from fleet.record.writer import RecordWriter
from transceiver.media import Media
from transceiver.pod.pod_place import PodPlace
from transceiver.record.call_records import CallRecords
from transceiver.settings import TransceiverSettings
from trunkline.process.errors import StartupError


def _ignore(*_: str) -> None:
    pass


@dataclass
class Records:
    """What the process needs of it; of one that writes none everything is empty."""

    loops: list[Coroutine[Any, Any, None]] = field(default_factory=list)
    counters: Callable[[], Mapping[str, int]] = dict
    acted: Callable[[str, str, str, str], None] = _ignore


def make_records(
    settings: TransceiverSettings, media: Media, pod_place: PodPlace, stack: AsyncExitStack
) -> Records:
    """All of it; `stack` closes it after the engine, whose last words are to be sent.

    Raises StartupError for a hook that cannot be used.
    """
    if settings.transceiver_record == "off":
        return Records()
    writer = _writer(settings, media, pod_place, stack)
    calls = CallRecords(
        *(media.engine, writer, build_version(), settings.transceiver_region, pod_place.index)
    )
    for link in media.links:
        link.on_recorded = calls.added
    media.tickets.on_used_up = calls.used_up
    return Records([writer.run(), calls.run()], lambda: writer.counters, calls.acted)


def _writer(
    settings: TransceiverSettings, media: Media, pod_place: PodPlace, stack: AsyncExitStack
) -> RecordWriter:
    try:
        rule = redaction(Content(settings.transceiver_record), settings.transceiver_record_hook)
    except BadHook as error:
        raise StartupError(f"TRUNKLINE_TRANSCEIVER_RECORD_HOOK: {error}") from None
    stream = RecordStream(
        settings.redis_url.get_secret_value(),
        settings.cluster,
        lambda: media.engine.key_rings[0],
    )
    stack.push_async_callback(stream.close)
    writer = RecordWriter(stream, f"transceiver-{pod_place.index}", redact=rule)
    stack.push_async_callback(writer.close)
    return writer
