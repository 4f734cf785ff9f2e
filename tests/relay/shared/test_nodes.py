"""The node table: a fence holds, whatever is said late, and newcomers are free of it."""

from __future__ import annotations

import pytest

from relay.shared.nodes import NO_EPOCH, SIZE_BYTES, FlowOwner, NodeTable
from tests.relay.kit import NODE, NODE_ADDRESS, client

EPOCHS = [0, 1, 41, 32_767, 32_768, 65_534, 65_535]


def table() -> NodeTable:
    return NodeTable(memoryview(bytearray(SIZE_BYTES)))


def sender(epoch: int) -> int:
    return NODE << 16 | epoch % 65536


@pytest.mark.parametrize("epoch", EPOCHS)
def test_a_fenced_owner_is_nobody(epoch: int) -> None:
    """Its sender number, its flows and its tokens are over; late news do not bring it back."""
    nodes = table()
    nodes.put(NODE, epoch, NODE_ADDRESS)
    assert nodes.knows_sender(sender(epoch))
    nodes.fence(NODE, epoch)
    for _ in range(2):
        assert not nodes.knows_sender(sender(epoch))
        assert nodes.is_fenced(sender(epoch))
        assert nodes.epoch(NODE) != epoch
        assert nodes.fenced_nodes() == [FlowOwner(NODE, epoch)]
        nodes.put(NODE, epoch, client(5))


@pytest.mark.parametrize("epoch", EPOCHS)
def test_the_next_owner_of_the_index_is_believed(epoch: int) -> None:
    """It comes with another epoch, also when that is the one the fence left behind."""
    for later in (1, 2, 3):
        nodes = table()
        nodes.put(NODE, epoch, NODE_ADDRESS)
        nodes.fence(NODE, epoch)
        nodes.put(NODE, (epoch + later) % 65536, client(5))
        assert nodes.knows_sender(sender(epoch + later))
        assert not nodes.knows_sender(sender(epoch))
        assert later == 1 or nodes.fenced_nodes() == []
        nodes.put(NODE, epoch, NODE_ADDRESS)  # an old snapshot
        assert nodes.knows_sender(sender(epoch + later))


@pytest.mark.parametrize("epoch", EPOCHS)
def test_a_fence_of_an_owner_that_is_over_touches_no_other(epoch: int) -> None:
    """A late claim of a takeover long ago must not touch the index's owner of now.

    The one that was lost stays lost, should a store that forgot everything bring it back.
    """
    nodes = table()
    nodes.put(NODE, epoch, NODE_ADDRESS)
    nodes.fence(NODE, (epoch - 2) % 65536)
    nodes.fence(NODE, (epoch - 3) % 65536)
    assert nodes.knows_sender(sender(epoch))
    assert nodes.fenced_nodes() == []
    nodes.put(NODE, (epoch - 2) % 65536, NODE_ADDRESS)
    assert not nodes.knows_sender(sender(epoch - 2))
    assert nodes.knows_sender(sender(epoch))


@pytest.mark.parametrize("epoch", EPOCHS)
def test_a_fence_may_come_before_the_news(epoch: int) -> None:
    """The directory says later, or never, what was fenced: it is nobody all the same."""
    nodes = table()
    nodes.fence(NODE, epoch)
    nodes.put(NODE, epoch, NODE_ADDRESS)
    assert not nodes.knows_sender(sender(epoch))
    assert nodes.epoch(NODE) == NO_EPOCH
    behind = table()
    behind.put(NODE, (epoch - 1) % 65536, NODE_ADDRESS)
    behind.fence(NODE, epoch)
    behind.put(NODE, epoch, NODE_ADDRESS)
    assert not behind.knows_sender(sender(epoch))


def test_the_later_of_two_fences_stays() -> None:
    """Two owners of an index were lost, one after the other."""
    nodes = table()
    nodes.put(NODE, 8, NODE_ADDRESS)
    nodes.fence(NODE, 8)
    nodes.fence(NODE, 6)
    assert nodes.is_fenced(sender(8))
    nodes.fence(NODE, 10)
    nodes.put(NODE, 10, NODE_ADDRESS)
    assert not nodes.knows_sender(sender(10))


def test_a_fence_between_the_two_halves_of_news(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker fences while the supervisor writes the same node: the fence holds."""
    nodes = table()
    keep_out = NodeTable._keep_out_fenced

    def fence_meanwhile(self: NodeTable, index: int) -> None:
        monkeypatch.setattr(NodeTable, "_keep_out_fenced", keep_out)
        self._fenced_plus_1[index] = 41 + 1  # as far as `fence` got while there was no epoch
        self._keep_out_fenced(index)

    monkeypatch.setattr(NodeTable, "_keep_out_fenced", fence_meanwhile)
    nodes.put(NODE, 41, NODE_ADDRESS)
    assert not nodes.knows_sender(sender(41))
    assert nodes.epoch(NODE) != 41


def test_a_relay_that_takes_over_keeps_the_fences() -> None:
    """Whatever its own directory says of the fenced owner, and whichever came first."""
    old, new = table(), table()
    for index in (1, 2, 3):
        old.put(index, 7, NODE_ADDRESS)
        old.fence(index, 7)
    old.put(4, 9, NODE_ADDRESS)
    new.put(1, 7, NODE_ADDRESS)  # the store has not heard of the fence
    new.put(2, 9, client(5))  # the index has an owner again
    new.adopt(old)
    assert [new.knows_sender(index << 16 | 7) for index in (1, 2, 3)] == [False] * 3
    assert new.knows_sender(2 << 16 | 9)
    assert new.knows_sender(4 << 16 | 9)
    new.put(3, 7, NODE_ADDRESS)
    assert not new.knows_sender(3 << 16 | 7)
    assert new.fenced_nodes() == [FlowOwner(1, 7), FlowOwner(3, 7)]
    assert new.fenced_count == 2
