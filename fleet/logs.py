"""Logging: each line is one event name with fields, goes to stderr, and is redacted.

    log = structlog.get_logger()
    log.info("call_started", call_id=call_id, client=ClientAddress(host), ufrag=Ufrag(ufrag))

Redaction happens three times over. Values of the types in `fleet.redacted_types` print only what
they may. Well-known key names are redacted whatever their type. Text that is not ours (records of
other libraries, tracebacks) is searched for addresses and route tokens.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from fleet.event_tap import EventTap
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
    out = sys.stderr if stream is None else stream
    before = _processors(process)
    last = _renderer(log_format, out)
    structlog.configure(
        processors=[*before, tap, *last],
        logger_factory=structlog.PrintLoggerFactory(out),
        # A cached logger would keep writing to the stream of an earlier configuration.
        cache_logger_on_first_use=False,
    )
    _adopt_standard_logging([redact_foreign, *before, tap], last, out)
    set_level(level)


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


def redact_foreign(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Processor: a library's sentence becomes `message` of the event `library`, redacted.

    Our own library's records have an event name and fields (`extra`), and keep them.
    """
    if str(event["logger"]).startswith(f"{_OWN_LIBRARY}."):
        del event["logger"]
        return _add_fields(_logger, _method, event)
    event["message"] = redact_text(str(event["event"]))
    event["event"] = "library"
    return event


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


def _adopt_standard_logging(before: list[Processor], last: list[Processor], out: TextIO) -> None:
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *before],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
