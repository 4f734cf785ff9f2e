"""Logs: one event a line, with nothing personal in it, whoever wrote it."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import structlog

from fleet import logs
from fleet.logs import ClientAddress, Transcript, Ufrag

UFRAG = "1A2B3C4D5E6F7G8H9J0K1M2N"


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    assert logs.flush()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_one_json_object_a_line() -> None:
    """Event name, level, time, process and bound ids; values by their redaction."""
    stream = io.StringIO()
    logs.configure("info", "json", process="relay", stream=stream)
    log = structlog.get_logger("fleet.somewhere").bind(call_id="c1")
    log.info("call_started", client=ClientAddress("203.0.113.7"), ufrag=Ufrag(UFRAG))
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "call_started",
        "level": "info",
        "process": "relay",
        "logger": "fleet.somewhere",
        "call_id": "c1",
        "client": "203.0.113.0/24",
        "ufrag": "1A2B…",
    }


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_nothing_personal_in_either_format(log_format: str) -> None:
    """Types, names, tracebacks and library records: none shows what it must not."""
    stream = io.StringIO()
    logs.configure("debug", log_format, stream=stream)
    log = structlog.get_logger()
    log.info("a", who=Transcript("the secret words"), password="hunter2", inner={"api_key": "k-1"})
    reason = f"no route for 203.0.113.7 with {UFRAG}"
    try:
        raise ValueError(reason)
    except ValueError:
        log.exception("b")
    logging.getLogger("aioice").warning("check %s failed", ("203.0.113.7", 5000))
    assert logs.flush()
    text = stream.getvalue()
    for personal in ("secret words", "hunter2", "k-1", "203.0.113.7", UFRAG):
        assert personal not in text
    assert text.count("203.0.113.0/24") == 2


def test_level_is_a_threshold() -> None:
    """What lies below the level is not written; libraries start at warning."""
    stream = io.StringIO()
    logs.configure("error", "json", stream=stream)
    structlog.get_logger().warning("unheard")
    logging.getLogger("lib").warning("unheard")
    structlog.get_logger().error("heard")
    assert [line["event"] for line in lines(stream)] == ["heard"]


def test_library_records_share_the_format() -> None:
    """The standard logging module ends up in the same stream and shape."""
    stream = io.StringIO()
    logs.configure("debug", "json", stream=stream)
    logging.getLogger("lib").info("packet by packet")
    try:
        raise OSError("lost 203.0.113.7")
    except OSError:
        logging.getLogger("lib").exception("it broke: %d", 7)
    (line,) = lines(stream)
    assert (line["event"], line["logger"], line["message"]) == ("library", "lib", "it broke: 7")
    assert "lost 203.0.113.0/24" in line["exception"]
    assert line["level"] == "error"


def test_a_librarys_own_exception_is_one_line() -> None:
    """Where none of our code was at work: what it was and where, redacted, and no stack."""
    stream = io.StringIO()
    logs.configure("info", "json", stream=stream)
    within = compile("json.loads(text)", "grpc/_cython/some.pyx.pxi", "exec")
    try:
        json.loads("203.0.113.7")
    except ValueError as error:
        error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
        logging.getLogger("lib").exception("invalid")
    try:
        exec(within, {"__name__": "grpc._cython", "json": json, "text": b"\xff"})
    except ValueError as error:
        error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
        logging.getLogger("lib").exception("invalid")
    first, second = lines(stream)
    assert not {"exception", "exc_info"} & {*first, *second}
    assert (first["message"], first["error"]) == ("invalid", "JSONDecodeError")
    assert first["at"].startswith("decoder.py:")
    assert second["error"] == "UnicodeDecodeError"
    assert "Traceback" not in stream.getvalue()


@pytest.mark.parametrize("name", ["relay.worker.loop", "grpc._cython"])
def test_what_our_code_had_a_part_in_keeps_its_stack(name: str) -> None:
    """Whoever raised in the end; ours may be installed beside libraries."""
    stream = io.StringIO()
    logs.configure("info", "json", stream=stream)
    within = compile("json.loads('')", str(Path(json.__file__)), "exec")
    try:
        exec(within, {"__name__": name, "json": json})
    except ValueError as error:
        error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
        logging.getLogger("lib").exception("it broke")
    (line,) = lines(stream)
    assert ("exception" in line) == name.startswith("relay.")


def test_unknown_objects_go_through_the_sieve() -> None:
    """An object nobody thought of cannot smuggle an address in by its repr."""

    class Odd:
        def __repr__(self) -> str:
            return "Odd('203.0.113.7')"

    stream = io.StringIO()
    logs.configure("info", "json", stream=stream)
    structlog.get_logger().info("odd", what=Odd())
    assert lines(stream)[0]["what"] == "Odd('203.0.113.0/24')"


def test_stderr_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    """stdout stays free for what a command prints."""
    logs.configure()
    structlog.get_logger().info("hello")
    assert logs.flush()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert '"event": "hello"' in captured.err


class Odd:
    """A value whose own text raises."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_value_that_raises_fails_nobody_who_logs(log_format: str) -> None:
    """Neither ours nor a library's; the log says that there was a line, and it is counted."""
    stream = io.StringIO()
    logs.configure("info", log_format, stream=stream)
    before = logs.counts()["log_lines_broken"]
    structlog.get_logger(__name__).info("odd", what=Odd())
    logging.getLogger("lib").warning("odd %s", Odd())
    logging.getLogger("lib").warning("%d and %d", 1)  # noqa: PLE1206 - as a library may err
    assert logs.flush()
    assert stream.getvalue().count("log_line_broken") == 3
    assert logs.counts()["log_lines_broken"] == before + 3


def test_a_flood_of_one_kind_is_cut_everywhere() -> None:
    """In the log and for who watches it; libraries' lines too; others are not touched."""
    stream = io.StringIO()
    logs.configure("info", "json", stream=stream)
    log = structlog.get_logger(__name__)
    for _ in range(2000):
        log.info("flood")
        logging.getLogger("lib").warning("flood")
    log.info("other")
    events = [(line["event"], line["logger"]) for line in lines(stream)]
    assert 500 <= events.count(("flood", __name__)) < 2000
    assert 500 <= events.count(("library", "lib")) < 2000
    assert ("other", __name__) in events
    assert logs.counts()["log_lines_suppressed"] > 1000
