"""Logging: each line is one event name with fields, goes to stderr, and is redacted.

    log = structlog.get_logger(__name__)
    log.info("call_started", call_id=call_id, client=ClientAddress(host), ufrag=Ufrag(ufrag))

Redaction happens three times over: values of the types in `fleet.redacted_types` print only what
they may; well-known key names are redacted whatever their type; and text that is not ours (records
of other libraries, tracebacks) is searched for addresses and route tokens.

Whoever logs neither waits nor fails: lines are written by a thread (`fleet.log_writer`), lines of
one kind have a rate (`fleet.log_rate`), and a value that cannot be written becomes a line that says
so.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from fleet.event_tap import EventTap
from fleet.foreign_errors import exception_fields
from fleet.log_rate import LogRate
from fleet.log_writer import LogWriter, to_stream
from fleet.redact import redact_text
from fleet.redact_names import redact_by_name
from fleet.redacted_types import ClientAddress, Redacted, Secret, Transcript, Ufrag

__all__ = ["ClientAddress", "Redacted", "Secret", "Transcript", "Ufrag", "configure"]

tap = EventTap()
"""Where operators watch this process's log."""

_level = "info"
_OWN_LIBRARY = "trunkline"
_add_fields = structlog.stdlib.ExtraAdder()
# Added by structlog or by us, never by a caller.
_OWN_KEYS = frozenset({"event", "level", "timestamp", "exception", "logger"})


def configure(
    level: str = "info",
    log_format: str = "json",
    *,
    process: str = "",
    stream: TextIO | None = None,
) -> None:
    """Send this process's logs to `stream` (stderr); `level` and `log_format` as in the settings.

    `process` (`relay`, `transceiver`, …) is bound to every line when given. Libraries that use the
    standard `logging` module join in from `warning` up: below that they talk about packets. Our own
    one, `trunkline`, joins in from `level` up.
    """
    global _writer, _rate
    out = sys.stderr if stream is None else stream
    _writer.close()
    _writer, _rate = LogWriter(to_stream(out)), LogRate()
    before = _processors(process)
    last = _renderer(log_format, out)
    structlog.configure(
        processors=[Chain([within_rate, add_logger, *before, tap, *last])],
        logger_factory=_Output,
        # A cached logger would keep writing to the stream of an earlier configuration.
        cache_logger_on_first_use=False,
    )
    logging.raiseExceptions = False  # a handler's fault is nobody's traceback
    _adopt_standard_logging(Chain([add_foreign, within_rate, *before, tap, *last]))
    set_level(level)


def flush() -> bool:
    """Wait, for a second at most, until what was logged is written; whether it was."""
    return _writer.flush()


def counts() -> dict[str, int]:
    """What became of lines that nobody can read, by counter name."""
    return {
        "log_lines_dropped": _writer.dropped,
        "log_lines_failed": _writer.failed,
        "log_lines_suppressed": _rate.suppressed,
        "log_lines_broken": Chain.broken,
    }


def set_level(level: str) -> None:
    """Log from `level` (debug, info, warning, error) up, at once and everywhere."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))
    # Libraries talk about packets below warning.
    root = logging.getLogger()
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]))
    logging.getLogger(_OWN_LIBRARY).setLevel(level.upper())
    global _level  # noqa: PLW0603 - as global as the configuration it names
    _level = level


def level() -> str:
    """From where up this process logs."""
    return _level


def redact_values(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Processor: apply `redact_by_name` to everything a caller put into the event."""
    for name, value in event.items():
        if name not in _OWN_KEYS:
            event[name] = redact_by_name(name, value)
    return event


def redact_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Processor: cut addresses and route tokens out of a formatted traceback."""
    if "exception" in event:
        event["exception"] = redact_text(str(event["exception"]))
    return event


def within_rate(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Processor: drop a line of a kind that has had its share; say how many went before."""
    foreign = f"library {event['logger']}" if event.get("event") == "library" else None
    traceback = bool(event.get("exc_info") or event.get("stack_info"))
    before = _rate.take(foreign or str(event.get("event", "")), traceback=traceback)
    if before is None:
        raise structlog.DropEvent
    if before:
        event["suppressed"] = before
    return event


def add_logger(logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Processor: which module says it."""
    if name := getattr(logger, "name", ""):
        event["logger"] = name
    return event


def add_foreign(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Processor: a library's sentence becomes `message` of the event `library`, redacted; so does
    an exception that is a library's alone (`fleet.foreign_errors`).

    Our own library's records have an event name and fields (`extra`), and keep them.
    """
    record: logging.LogRecord = event.pop("_record")
    event.update(event=record.getMessage(), logger=record.name)
    if record.name.startswith(f"{_OWN_LIBRARY}."):
        event = dict(_add_fields(_logger, _method, {**event, "_record": record}))
        del event["_record"]
        return {**event, "exc_info": record.exc_info}
    event["message"] = redact_text(str(event["event"]))
    event["event"] = "library"
    return {**event, **exception_fields(record)}


class Chain:
    """All processors as one, so that none of them can fail whoever logs.

    A line that cannot be made, because a value's own text raises, becomes one that says so; the
    class counts those in `broken`.
    """

    broken = 0

    def __init__(self, processors: Sequence[Processor]) -> None:
        self._processors = tuple(processors)

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> str:
        """The line. Raises structlog.DropEvent, which structlog takes as silence."""
        name = event.get("event")
        try:
            for processor in self._processors:
                event = processor(logger, method, event)  # type: ignore[assignment]
        except structlog.DropEvent:
            raise
        except Exception as error:
            Chain.broken += 1
            return json.dumps(
                {
                    "event": "log_line_broken",
                    "of": _name(name),
                    "level": method,
                    "reason": type(error).__name__,
                }
            )
        return str(event)


def _processors(process: str) -> list[Processor]:
    def bind_process(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        if process:
            event.setdefault("process", process)
        return event

    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        bind_process,
        structlog.processors.format_exc_info,
        redact_exception,
        redact_values,
    ]


def _renderer(log_format: str, out: TextIO) -> list[Processor]:
    if log_format == "json":
        return [structlog.processors.JSONRenderer(default=_unknown, ensure_ascii=False)]
    return [structlog.dev.ConsoleRenderer(colors=out.isatty())]


def _unknown(value: object) -> str:
    # The repr of an object nobody thought of may hold anything; it goes through the same sieve.
    return redact_text(repr(value))


def _name(event: object) -> str:
    return event if isinstance(event, str) else type(event).__name__


class _Output:
    """The end of structlog: a logger by module name, whose lines go to the writer."""

    def __init__(self, name: str = "", *_: object) -> None:
        self.name = name

    def msg(self, line: str) -> None:
        """Write a line."""
        _writer.put(line)

    debug = info = warning = warn = error = err = exception = critical = fatal = failure = log = msg


class _Foreign(logging.Handler):
    """Records of the standard `logging` module, as lines of ours."""

    def __init__(self, chain: Chain) -> None:
        super().__init__()
        self._chain = chain

    def emit(self, record: logging.LogRecord) -> None:
        """Write it. Raises nothing."""
        with suppress(structlog.DropEvent):
            method = record.levelname.lower()
            _writer.put(self._chain(None, method, {"event": record.name, "_record": record}))


def _adopt_standard_logging(chain: Chain) -> None:
    logging.getLogger().handlers[:] = [_Foreign(chain)]


_writer = LogWriter(to_stream(sys.stderr))
_rate = LogRate()
