"""The rules: each looks for one kind of trouble, and yields what it finds with its evidence.

A threshold stands beside its rule, with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from records.diagnosis.facts import Facts
from records.diagnosis.finding import Finding
from records.diagnosis.rules.backend import backend_lost
from records.diagnosis.rules.ending import ended_by, hung_up_in_the_middle
from records.diagnosis.rules.handshake import dtls_failed
from records.diagnosis.rules.hearing import heard_nothing
from records.diagnosis.rules.limits import budget_used_up, rate_limited
from records.diagnosis.rules.loss import lost_packets
from records.diagnosis.rules.model import broke_off, late, never_answered
from records.diagnosis.rules.moves import moved
from records.diagnosis.rules.ourselves import holes, own_faults
from records.diagnosis.rules.paths import path_changed
from records.diagnosis.rules.prompt import prompt_changed
from records.diagnosis.rules.silence import stopped_sending
from records.diagnosis.rules.tools import hanging_tool

Rule = Callable[[Facts], Iterator[Finding]]

RULES: tuple[Rule, ...] = (
    ended_by,
    dtls_failed,
    backend_lost,
    moved,
    budget_used_up,
    rate_limited,
    broke_off,
    late,
    never_answered,
    hanging_tool,
    heard_nothing,
    lost_packets,
    path_changed,
    stopped_sending,
    own_faults,
    hung_up_in_the_middle,
    prompt_changed,
    holes,
)
