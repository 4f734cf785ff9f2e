"""The library's log, as its own process writes it and as a fleet's does."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest

from fleet import logs
from trunkline.backend.log import FieldFormatter

LOG = logging.getLogger("trunkline.backend.test")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    logging.getLogger("trunkline").setLevel(logging.NOTSET)


def test_fields_stand_behind_the_event() -> None:
    """`name=value` each, and a traceback below."""
    record = LOG.makeRecord(
        LOG.name, logging.INFO, "", 0, "drain_began", (), None, extra={"calls": 3, "call_id": "a"}
    )
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d INFO drain_began calls=3 call_id=a", FieldFormatter().format(record)
    )


def test_a_fleets_log_keeps_event_and_fields() -> None:
    """The library's records are events as our own are; those of others are a sentence."""
    out = io.StringIO()
    logs.configure("info", "json", process="backend", stream=out)
    LOG.debug("not_shown")
    LOG.info("drain_began", extra={"calls": 3})
    logging.getLogger("other").warning("words from %s", "192.0.2.7")
    assert logs.flush()
    ours, other = (json.loads(line) for line in out.getvalue().splitlines())
    assert (ours["event"], ours["calls"], ours["process"], ours["level"]) == (
        *("drain_began", 3, "backend", "info"),
    )
    assert other["event"] == "library"
    assert "192.0.2.7" not in other["message"]


def test_a_fleets_log_redacts_the_librarys_tracebacks() -> None:
    """An address in an exception of a handler is cut out."""
    out = io.StringIO()
    logs.configure("info", "json", stream=out)
    try:
        raise ValueError("from 192.0.2.7")
    except ValueError:
        LOG.exception("handler_failed", extra={"call_id": "a"})
    assert logs.flush()
    line = json.loads(out.getvalue())
    assert (line["event"], line["call_id"]) == ("handler_failed", "a")
    assert "ValueError" in line["exception"]
    assert "192.0.2.7" not in out.getvalue()
