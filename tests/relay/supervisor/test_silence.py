"""A relay suspects who fell silent, and nobody while it cannot hear well itself."""

from __future__ import annotations

import pytest

from relay.shared.nodes import SIZE_BYTES, FlowOwner, NodeTable
from relay.supervisor.silence import (
    AGAIN_MS,
    CARRIED_MS,
    LATE_MS,
    MOST_AT_ONCE,
    SILENT_MS,
    Silence,
)
from tests.relay.kit import NODE_ADDRESS

STARTS = [10_000, 2**32 - 400, 2**32, 2**40 + 7]
LOOK_MS = 50
A, B = FlowOwner(1, 65535), FlowOwner(65535, 0)


class Watch:
    """A table with two nodes, and looks at it in virtual time."""

    def __init__(self, start_ms: int = STARTS[0]) -> None:
        self.nodes = NodeTable(memoryview(bytearray(SIZE_BYTES)))
        for owner in (A, B):
            self.nodes.put(*owner, NODE_ADDRESS)
        self.silence = Silence(self.nodes)
        self.now_ms = start_ms

    def pass_ms(
        self, wanted_ms: int, *speaking: FlowOwner, look_ms: int = LOOK_MS, beat_age_ms: int = 20
    ) -> list[FlowOwner]:
        """Who is suspected in this time, in which these speak all the while."""
        suspected = []
        end_ms = self.now_ms + wanted_ms
        while self.now_ms < end_ms:
            self.now_ms += look_ms
            for owner in speaking:
                self.nodes.hear(owner.node, self.now_ms - 20)
            suspected += self.silence.look(self.now_ms, self.now_ms - beat_age_ms)
        return suspected


@pytest.mark.parametrize("start_ms", STARTS)
def test_who_falls_silent_is_suspected_soon_and_again(start_ms: int) -> None:
    """Not before its time, once a second, and no more when it has been silent for long."""
    watch = Watch(start_ms)
    assert watch.pass_ms(1000, A, B) == []
    assert watch.pass_ms(SILENT_MS - LOOK_MS, B) == []
    assert watch.pass_ms(2 * LOOK_MS, B) == [A]
    assert watch.pass_ms(AGAIN_MS - 2 * LOOK_MS, B) == []
    assert watch.pass_ms(CARRIED_MS, B) == [A] * 4
    assert watch.pass_ms(60_000, B) == []
    assert len(watch.silence) == 0


@pytest.mark.parametrize("start_ms", STARTS)
def test_who_never_said_anything_is_not_suspected(start_ms: int) -> None:
    """A node without calls says nothing, also where the clock's 32 bits wrap."""
    assert Watch(start_ms).pass_ms(2 * CARRIED_MS) == []


def test_who_speaks_again_is_suspected_at_most_once_a_second() -> None:
    """A node that comes and goes does not fill the channel."""
    watch = Watch()
    watch.pass_ms(1000, A)
    suspected = [owner for _ in range(10) for owner in watch.pass_ms(400) + watch.pass_ms(100, A)]
    assert len(suspected) == 5


@pytest.mark.parametrize("late", ["looks", "a worker"])
def test_a_relay_that_stands_still_suspects_nobody(late: str) -> None:
    """Silence that it has not heard itself does not count; it begins anew."""
    watch = Watch()
    watch.pass_ms(1000, A, B)
    if late == "looks":
        assert watch.pass_ms(2000, look_ms=LATE_MS + 1) == []
    else:
        assert watch.pass_ms(2000, beat_age_ms=LATE_MS + 1) == []
    assert watch.pass_ms(SILENT_MS - LOOK_MS, B) == []
    assert watch.pass_ms(2 * LOOK_MS, B) == [A]


def test_all_nodes_of_a_host_are_suspected_together() -> None:
    """And of very many those that have room in one look, the others at the next."""
    watch = Watch()
    crowd = [FlowOwner(node, 7) for node in range(100, 100 + 2 * MOST_AT_ONCE)]
    for owner in crowd:
        watch.nodes.put(*owner, NODE_ADDRESS)
    watch.pass_ms(1000, *crowd)
    suspected = watch.pass_ms(SILENT_MS)
    assert len(suspected) == MOST_AT_ONCE
    assert suspected + watch.pass_ms(LOOK_MS) == crowd


def test_the_next_owner_of_an_index_is_not_suspected_for_the_one_before() -> None:
    """It has said nothing yet. The one before is suspected no more either: it is over."""
    watch = Watch()
    watch.pass_ms(1000, A)
    watch.nodes.put(A.node, 0, NODE_ADDRESS)
    assert watch.pass_ms(CARRIED_MS) == []


def test_a_node_that_the_directory_took_away_is_not_suspected() -> None:
    """Nobody could say whom it is about."""
    watch = Watch()
    watch.pass_ms(1000, A)
    watch.nodes.remove(A.node)
    assert watch.pass_ms(CARRIED_MS) == []
