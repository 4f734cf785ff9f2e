"""The directory: what it believes, what it keeps, and whom it tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.directory.directory import Directory, Node, Snapshot
from trunkline.process.address import Address
from wire.epoch import is_older, next_epoch


def node(index: int, epoch: int = 0, **changes: Any) -> Node:
    return Node(index, epoch, Address("127.0.0.1", 5000 + index), f"node-{index}", **changes)


def test_find_by_index() -> None:
    """A snapshot fills the directory; unknown indexes are None."""
    directory = Directory()
    directory.apply(Snapshot((node(3), node(0))))
    assert directory.find(3) == node(3)
    assert directory.find(1) is None
    assert [n.index for n in directory] == [0, 3]


def test_a_change_replaces_its_node_only() -> None:
    """Draining of one leaves the others alone."""
    directory = Directory()
    directory.apply(Snapshot((node(0), node(1))))
    assert directory.apply(node(1, draining=True)) == (node(1, draining=True),)
    assert directory.find(0) == node(0)


def test_a_node_missing_from_a_snapshot_is_kept_as_not_live() -> None:
    """An empty store costs no route."""
    directory = Directory()
    directory.apply(Snapshot((node(0), node(1))))
    directory.apply(Snapshot(()))
    assert directory.find(0) == node(0, live=False)
    assert (len(directory), directory.live_count) == (2, 0)


def test_a_late_change_of_an_older_epoch_is_dropped() -> None:
    """A message overtaken by its successor does not bring back the former owner."""
    directory = Directory()
    directory.apply(node(0, epoch=0))
    assert directory.apply(node(0, epoch=65535)) == ()
    assert directory.find(0) == node(0, epoch=0)


def test_a_snapshot_is_believed_whatever_its_epoch() -> None:
    """A store that lost its data counts anew; its word still holds."""
    directory = Directory()
    directory.apply(node(0, epoch=500))
    directory.apply(Snapshot((node(0, epoch=3),)))
    assert directory.find(0) == node(0, epoch=3)


def test_listeners_hear_changes_and_nothing_else() -> None:
    """One call per news that changed something, until taken off."""
    directory, heard = Directory(), list[Sequence[Node]]()
    stop = directory.listen(heard.append)
    directory.apply(Snapshot((node(0), node(1))))
    directory.apply(Snapshot((node(0), node(1))))
    directory.apply(Snapshot((node(1),)))
    stop()
    directory.apply(node(5))
    assert heard == [(node(0), node(1)), (node(0, live=False),)]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 65535), st.booleans()), max_size=30))
def test_a_listener_can_rebuild_the_directory(changes: list[tuple[int, int, bool]]) -> None:
    """Putting each heard node in its place gives the same directory: nothing is ever removed."""
    directory, copy = Directory(), dict[int, Node]()
    directory.listen(lambda nodes: copy.update((n.index, n) for n in nodes))
    for index, epoch, whole in changes:
        directory.apply(Snapshot((node(index, epoch),)) if whole else node(index, epoch))
    assert list(directory) == [copy[index] for index in sorted(copy)]


@given(st.integers(0, 65535), st.integers(1, 32767))
def test_epochs_are_serial_numbers(epoch: int, steps: int) -> None:
    """Older and newer hold across the wrap, up to half the space."""
    later = (epoch + steps) % 65536
    assert is_older(epoch, than=later)
    assert not is_older(later, than=epoch)
    assert not is_older(epoch, than=epoch)


def test_next_epoch_wraps() -> None:
    """65535 is followed by 0."""
    assert [next_epoch(0), next_epoch(65535)] == [1, 0]


@pytest.mark.parametrize(
    "bad",
    [
        {"index": 65536},
        {"index": -1},
        {"epoch": 65536},
        {"name": ""},
        {"name": "x" * 254},
        {"name": "a\nb"},
        {"trunk": Address("transceiver.svc", 5000)},
        {"trunk": Address("0.0.0.0", 5000)},
        {"trunk": Address("::", 5000)},
        {"trunk": Address("127.0.0.1", 0)},
    ],
)
def test_what_no_relay_could_use_is_no_node(bad: dict[str, object]) -> None:
    """Indexes out of range and addresses that lead nowhere are refused at construction."""
    with pytest.raises(ValueError, match=r"node|address"):
        replace(node(0), **bad)  # type: ignore[arg-type]
