"""What is counted has one name in one place, and a row that says what to do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

import transceiver
import wire
from fleet.limits.rules import Reason
from tests.pages import dead_links, rows
from transceiver.call.states import END_REASONS
from transceiver.counters import Counted, call_ended, dtls_failed
from transceiver.link.counters import LinkCounters
from transceiver.transport.dtls import FailureReason

PAGE = "operations/transceiver-drops.md"
TRANSCEIVER, WIRE = Path(transceiver.__file__).parent, Path(wire.__file__).parent
# The formats that a transceiver reads from a network.
READ = ("stun", "rtp", "rtcp", "trunk", "replay")
# Reasons of those modules that nothing on the way of a packet can raise here.
UNREAD = {"stun_address", "stun_error_code"}
COUNTING = {"count", "_count", "WireError"}
COUNTERS = {"counters", "_counters", "dropped", "_dropped"}
LIMITS = {"limit_admitted", *(f"limit_refused_{reason.value}" for reason in Reason)}


def test_every_counter_has_a_row() -> None:
    """Each stands once, with what happened and what to do; no row is left of a dead one."""
    table = rows(PAGE)
    named = [*Counted, *(field.name for field in fields(LinkCounters)), "backend_breakers_open"]
    assert sorted(row[0].strip("`") for row in table) == sorted([*named, *LIMITS])
    assert all(len(row) == 3 and row[1] and row[2] for row in table)
    assert not list(dead_links(PAGE))


def test_reasons_of_wire_are_counters() -> None:
    """What `wire` says of bytes is a word that we know."""
    sources = (WIRE / f"{name}.py" for name in READ)
    reasons = {
        word for path in sources for word in re.findall(r'WireError\("(\w+)"', path.read_text())
    }
    assert len(reasons) > 20
    assert reasons - UNREAD <= set(Counted)


def test_ends_and_dtls_failures_are_counters() -> None:
    """Every reason a call can end for, and every one DTLS can fail for."""
    assert {call_ended(reason) for reason in {*END_REASONS, "moved", "fenced"}} == {
        name for name in Counted if name.startswith("call_ended_")
    }
    assert {dtls_failed(reason) for reason in get_args(FailureReason)} == {
        name for name in Counted if name.startswith("dtls_failed_")
    }


def literals(source: str) -> Iterator[str]:
    """Words that a module counts without the enum."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and node.args and _name(node.func) in COUNTING:
            yield from _words(node.args[0])
        elif isinstance(node, ast.Subscript) and _name(node.value) in COUNTERS:
            yield from _words(node.slice)
        elif isinstance(node, ast.keyword) and node.arg == "reason":
            yield from (word for word in _words(node.value) if word in set(Counted))


def _name(node: ast.expr) -> str:
    return getattr(node, "attr", getattr(node, "id", ""))


def _words(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.JoinedStr):
        yield ast.unparse(node)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


@pytest.mark.parametrize("path", sorted(TRANSCEIVER.rglob("*.py")), ids=str)
def test_nothing_is_counted_by_another_name(path: Path) -> None:
    """No literal is counted, and none is the name of a counter by chance."""
    source = path.read_text()
    assert [word for word in literals(source) if word] == []
    if path.name != "counters.py":
        assert not _returned(source) & set(Counted)


def _returned(source: str) -> set[str]:
    """Words in a `return` or a table, which somebody may count."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Return | ast.Dict | ast.IfExp):
            found |= {
                inner.value
                for inner in ast.walk(node)
                if isinstance(inner, ast.Constant) and isinstance(inner.value, str)
            }
    return found


def test_the_check_finds_what_it_looks_for() -> None:
    """However a word is counted."""
    source = """
self._host.count("a")
self.dropped["b"] += 1
self._count(f"c_{d}")
raise WireError("e")
Outcome(None, reason="ice_method")
self.counters[Counted.F] += 1
"""
    assert set(literals(source)) == {"a", "b", "f'c_{d}'", "e", "ice_method"}
