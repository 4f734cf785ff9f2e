"""The pages about the wire list the reasons that the code counts."""

from __future__ import annotations

import re

import pytest

from relay.shared.counters import Counter
from tests.docs.pages import ROOT
from transceiver.counters import Counted

PROTOCOL = ROOT / "docs/protocol"
COUNTED = {counter.name.lower().removeprefix("drop_") for counter in Counter} | set(Counted)


def test_the_trunk_page_lists_every_reason() -> None:
    """Each reason to drop a trunk datagram stands there, and no other."""
    reasons = (PROTOCOL / "trunk.md").read_text().split("## Reasons")[1]
    listed = set(re.findall(r"`(trunk_\w+)`", reasons))
    assert listed == {reason for reason in COUNTED if reason.startswith("trunk_")}


@pytest.mark.parametrize("page", ["trunk.md", "route-token.md"])
def test_reasons_that_are_named_are_counted(page: str) -> None:
    """A reason in backticks on a page of the relay's formats is one of its counters."""
    heads = ("trunk_", "token_", "stun_", "ufrag_", "foreign_", "stale_")
    named = re.findall(r"`(\w+)`", (PROTOCOL / page).read_text())
    reasons = {word for word in named if word.startswith(heads)}
    assert len(reasons) > 3
    assert reasons <= COUNTED
