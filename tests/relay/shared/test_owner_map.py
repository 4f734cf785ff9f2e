"""Names and owners in shared memory: bounded, the least used give way, half an entry is none."""

from __future__ import annotations

import mmap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.shared import owner_map
from relay.shared.claims import ClaimMaps, Turns, address_name, is_at_work, ufrag_name
from relay.shared.memory import WorkerMemory
from relay.shared.owner_map import ENTRIES, NAME_BYTES, WAYS, Entry, OwnerMap
from tests.relay.kit import client, ufrag

Buffer = bytearray | mmap.mmap


def name(number: int) -> bytes:
    return (number + 1).to_bytes(NAME_BYTES)  # all zero is no name


def in_one_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OwnerMap, "_bucket", staticmethod(lambda _: 5 * WAYS))


@pytest.mark.parametrize("at", [0, 4096 + 64])
@given(
    said=st.lists(
        st.tuples(st.integers(0, 20), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
        max_size=60,
    )
)
def test_against_a_dictionary(at: int, said: list[tuple[int, int, int]]) -> None:
    """The last word about each name is what is found, wherever the map lies."""
    owners = OwnerMap(bytearray(at + OwnerMap.SIZE_BYTES), at)
    expected: dict[int, Entry] = {}
    for order, (number, owner, fenced) in enumerate(said, 1):
        expected[number] = Entry(owner, fenced, order)
        owners.put(name(number), expected[number], order)
    assert {n: owners.find(name(n)) for n in range(21)} == {n: expected.get(n) for n in range(21)}
    assert len(owners) == len(expected)


def test_a_full_bucket_gives_up_what_was_not_used_for_longest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A put and a touch are uses; the map never holds more than it has room for."""
    in_one_bucket(monkeypatch)
    owners = OwnerMap(bytearray(OwnerMap.SIZE_BYTES))
    for number in range(WAYS):
        owners.put(name(number), Entry(number, 0, 1), 100 + number)
    owners.touch(name(0), 900)
    owners.put(name(1), Entry(1, 0, 2), 901)
    for number in range(100, 102):
        owners.put(name(number), Entry(number, 0, 3), 902)
    gone = [number for number in range(WAYS) if owners.find(name(number)) is None]
    assert gone == [2, 3]
    assert len(owners) == WAYS
    assert owners.used_ms(name(0)) == 900


def test_it_holds_what_a_full_relay_has() -> None:
    """Of 20,000 calls none is lost, and with all there can be the bound holds."""
    owners = OwnerMap(bytearray(OwnerMap.SIZE_BYTES))
    chance = np.random.default_rng(5)
    ufrags = [chance.bytes(NAME_BYTES) for _ in range(2 * ENTRIES)]
    for number, one in enumerate(ufrags[:20_000]):
        owners.put(one, Entry(number, 0, 1), 1)
    assert sum(owners.find(one) is not None for one in ufrags[:20_000]) > 19_990
    for one in ufrags:
        owners.put(one, Entry(1, 0, 1), 2)
    assert 0.97 * ENTRIES < len(owners) <= ENTRIES


def test_what_is_newer_than_an_order() -> None:
    """Rows of words, as a worker next door follows them."""
    owners = OwnerMap(bytearray(OwnerMap.SIZE_BYTES))
    for order in range(1, 6):
        owners.put(name(order), Entry(order << 16 | 7, 9, order << 20), 1)
    rows = owners.since(3 << 20)
    found = {(int(r[3]) & 0xFFFFFFFF, int(r[3]) >> 32, int(r[4]) >> 20) for r in rows}
    assert found == {(4 << 16 | 7, 9, 4), (5 << 16 | 7, 9, 5)}
    assert owners.since(5 << 20).size == 0


def test_an_entry_that_is_replaced_while_it_is_read_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another worker has found a name; its place goes to another name; the owner is not that's."""
    in_one_bucket(monkeypatch)
    octets = bytearray(OwnerMap.SIZE_BYTES)
    writer, reader = OwnerMap(octets), OwnerMap(octets)
    writer.put(name(1), Entry(11, 0, 1), 1)
    row = reader._row(name(1))
    monkeypatch.setattr(reader, "_row", lambda _: row)
    assert reader.find(name(1)) == Entry(11, 0, 1)
    for number in range(2, 2 + WAYS):
        writer.put(name(number), Entry(22, 0, 2), number)
    assert reader.find(name(1)) is None


def test_a_name_that_stands_across_two_entries_is_not_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only whole entries count, however the bytes fall."""
    in_one_bucket(monkeypatch)
    owners = OwnerMap(bytearray(OwnerMap.SIZE_BYTES))
    shifted = b"\1" * 8 + b"\2" * 16
    owners.put(b"\0" * 8 + shifted[:16], Entry(1, 2, 3), 4)
    start = owners._entries_at + 5 * WAYS * owner_map.ENTRY_BYTES
    owners._buffer[start + 24 : start + 32] = shifted[16:]
    assert owners.find(shifted) is None
    owners.put(shifted, Entry(5, 6, 7), 8)
    assert owners.find(shifted) == Entry(5, 6, 7)


def test_names_ignore_the_case_of_ufrags_and_keep_addresses_apart() -> None:
    """Both kinds are 24 bytes."""
    text = ufrag()
    assert ufrag_name(text.lower()) == ufrag_name(text)
    names = {address_name(client(number)) for number in range(1, 50)}
    assert len(names) == 49
    assert {len(one) for one in names} == {len(ufrag_name(text))} == {NAME_BYTES}


def test_the_memory_of_a_worker_is_what_it_may_be() -> None:
    """Claims cost each worker 6.3 MB, of which nothing is used before somebody claims a call."""
    assert ClaimMaps.SIZE_BYTES < 6.4e6
    assert WorkerMemory.size_bytes(1) < 6.6e6


def test_turns() -> None:
    """Odd while a worker is at work; one that was killed at work is no longer in that turn."""
    turns = Turns(memoryview(bytearray(8)).cast("Q"))
    assert not is_at_work(turns.current)
    turns.begin()
    killed_in = turns.current
    assert is_at_work(killed_in)
    turns.begin()  # its successor
    assert is_at_work(turns.current)
    assert turns.current != killed_in
    turns.end()
    assert not is_at_work(turns.current)
