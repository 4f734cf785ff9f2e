"""Client → transceiver, without sockets."""

from __future__ import annotations

import pytest

from relay.shared.counters import Counter
from tests.relay import kit
from tests.relay.kit import NODE_ADDRESS, Plane, check, client, media, ufrag
from wire.address import pack_address
from wire.keys import KeyRing
from wire.rejoin import Rejoin


def test_a_valid_check_makes_a_flow_and_is_forwarded_unchanged() -> None:
    """The first STUN request routes by its ufrag, and later media follows the address."""
    plane = Plane()
    request = check(ufrag())
    [(address, datagram)] = plane.up([(client(1), request)])
    assert address == NODE_ADDRESS
    assert datagram.frames == ((client(1), request),)
    assert datagram.sender == kit.SENDER
    [(_, datagram)] = plane.up([(client(1), media())])
    assert datagram.frames == ((client(1), media()),)
    assert plane.count(Counter.FLOWS_MADE) == 1
    assert plane.drops() == {}


def test_media_behind_its_check_in_one_batch_is_routed() -> None:
    """A batch that brings a client's first check and its first media loses neither."""
    plane = Plane()
    packets = [(client(1), media(80)), (client(1), check(ufrag())), (client(1), b"\x16dtls")]
    [(_, datagram)] = plane.up(packets)
    assert sorted(len(payload) for _, payload in datagram.frames) == sorted(
        len(packet) for _, packet in packets
    )


def test_frames_are_grouped_by_node_and_keep_a_clients_order() -> None:
    """Clients of two nodes share a batch; each node gets its own, in order."""
    plane = Plane()
    other_address = pack_address("fd00::9", 9)
    plane.nodes.put(5, 1, other_address)
    plane.up([(client(1), check(ufrag())), (client(2), check(ufrag(node=5, epoch=1)))])
    packets = [(client(1 + number % 2), media(60 + number)) for number in range(20)]
    by_node: dict[bytes, list[int]] = {}
    for address, datagram in plane.up(packets):
        by_node.setdefault(address, []).extend(len(payload) for _, payload in datagram.frames)
    assert by_node == {
        NODE_ADDRESS: [60 + number for number in range(0, 20, 2)],
        other_address: [61 + number for number in range(0, 20, 2)],
    }


def test_datagrams_fill_up_to_the_mtu() -> None:
    """160-byte packets go seven to a 1400-byte datagram, and no datagram is larger."""
    plane = Plane()
    plane.up([(client(1), check(ufrag()))])
    sent = plane.up([(client(1), media(160))] * 64)
    assert [len(datagram.frames) for _, datagram in sent] == [7] * 9 + [1]


@pytest.mark.parametrize("others", [0, 30], ids=["alone", "among others"])
@pytest.mark.parametrize("length", [1352, 1353, 1425, 1500, 2048])
def test_a_packet_longer_than_a_frame_is_carried_in_two(length: int, others: int) -> None:
    """No trunk datagram is longer than the MTU, and what the caller sent comes out whole."""
    plane, rejoin = Plane(), Rejoin()
    plane.up([(client(n), check(ufrag())) for n in range(3)])
    packets = [(client(n % 3), media(100, n)) for n in range(others)]
    packets[others // 2 : others // 2] = [(client(1), media(length, 7))]
    joined = [rejoin.frames(datagram) for _, datagram in plane.up(packets)]
    assert [frame for frames, _ in joined for frame in frames] == packets
    assert not any(lost for _, lost in joined)
    assert plane.count(Counter.UP_SPLIT) == (length > 1352)
    assert plane.drops() == {}


def test_a_packet_longer_than_two_frames_may_be_is_counted() -> None:
    """2048 bytes are the most; more is dropped as oversize, also past the slot."""
    plane = Plane()
    plane.up([(client(1), check(ufrag()))])
    assert plane.up([(client(1), media(2049)), (client(1), media(3000))]) == []
    assert plane.drops() == {"oversize": 2}


FOREIGN = KeyRing(1, {1: b"x" * 32})
RETIRED = KeyRing(9, {9: b"t" * 32})


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"", "empty"),
        (b"\x05junk", "not_webrtc"),
        (b"\x50channel data", "not_webrtc"),
        (media(), "unknown_address"),
        (b"\x16\xfe\xfd dtls before stun", "unknown_address"),
        (b"\x00\x01", "stun_short"),
        (b"\x00\x01\x00\x00" + b"\x11" * 16, "stun_cookie"),
        (check(ufrag())[:-4], "stun_length"),
        (check(ufrag())[:-1] + b"?", "stun_fingerprint"),
        (check(ufrag(), username=b"nocolon"), "stun_username"),
        (check(ufrag(), password="p" * 32), "stun_integrity"),
        (check(ufrag(keys=FOREIGN), password="p" * 32), "token_mac"),
        (check(ufrag(keys=RETIRED), password="p" * 32), "token_key"),
        (check(ufrag(cluster=8)), "foreign_cluster"),
        (check(ufrag(epoch=40)), "stale_epoch"),
        (check(ufrag(node=301)), "unknown_node"),
        (check("A" * 23, password="p"), "token_length"),
        (check("A" * 25, password="p"), "token_length"),
        (check("U" * 24, password="p"), "token_alphabet"),
    ],
)
def test_what_proves_nothing_goes_nowhere(packet: bytes, reason: str) -> None:
    """Each kind of bad first packet has its own counter, makes no flow and sends nothing."""
    plane = Plane()
    assert plane.up([(client(1), packet)]) == []
    assert plane.drops() == {reason: 1}
    assert len(plane.flows) == 0


def test_a_request_without_username_is_counted() -> None:
    """A Binding Request from a plain STUN client is not answered and not forwarded."""
    from wire import stun

    plane = Plane()
    bare = stun.write(stun.Method.BINDING, stun.MessageClass.REQUEST, bytes(12))
    assert plane.up([(client(1), bare)]) == []
    assert plane.drops() == {"stun_no_username": 1}


def test_a_response_follows_the_address() -> None:
    """STUN responses and indications carry no USERNAME and go where the flow goes."""
    from wire import stun

    plane = Plane()
    plane.up([(client(1), check(ufrag()))])
    for kind in (stun.MessageClass.SUCCESS, stun.MessageClass.ERROR, stun.MessageClass.INDICATION):
        packet = stun.write(stun.Method.BINDING, kind, bytes(12))
        [(_, datagram)] = plane.up([(client(1), packet)])
        assert datagram.frames == ((client(1), packet),)
        assert plane.up([(client(2), packet)]) == []


def test_stun_from_a_known_address_is_still_routed_by_its_ufrag() -> None:
    """A reused address, or an ICE restart on another node, moves the flow at once."""
    plane = Plane()
    other = pack_address("127.0.0.1", 7001)
    plane.nodes.put(5, 1, other)
    plane.up([(client(1), check(ufrag()))])
    plane.up([(client(1), check(ufrag(node=5, epoch=1)))])
    [(address, _)] = plane.up([(client(1), media())])
    assert address == other
    assert plane.count(Counter.FLOWS_MOVED) == 1


def test_a_stranger_cannot_move_a_flow() -> None:
    """A check with a valid token but a wrong password, from a known address, changes nothing."""
    plane = Plane()
    plane.nodes.put(5, 1, pack_address("127.0.0.1", 7001))
    plane.up([(client(1), check(ufrag()))])
    assert plane.up([(client(1), check(ufrag(node=5, epoch=1), password="w" * 32))]) == []
    [(address, _)] = plane.up([(client(1), media())])
    assert address == NODE_ADDRESS


def test_flows_of_a_node_that_is_gone_or_renewed_are_dropped_with_the_reason() -> None:
    """A flow never reaches the new owner of its node index."""
    plane = Plane()
    plane.up([(client(1), check(ufrag()))])
    plane.nodes.remove(kit.NODE)
    assert plane.up([(client(1), media())]) == []
    plane.nodes.put(kit.NODE, kit.EPOCH + 1, NODE_ADDRESS)
    assert plane.up([(client(1), media())]) == []
    assert plane.drops() == {"unknown_node": 1, "stale_epoch": 1}


def test_a_full_table_refuses_new_flows_and_keeps_the_old() -> None:
    """At capacity a new client is dropped and counted; those that are in stay in."""
    plane = Plane(capacity=4)
    for number in range(4):
        plane.up([(client(number), check(ufrag()))])
    assert plane.up([(client(9), check(ufrag()))]) == []
    assert plane.drops() == {"flow_table_full": 1}
    assert plane.up([(client(0), media())]) != []


def test_a_retired_key_ends_new_flows_only() -> None:
    """Tokens signed with any key of the ring are good, whichever is current."""
    plane = Plane()
    plane.uplink._admission._keys = KeyRing(2, {2: b"n" * 32, 1: b"t" * 32})
    assert plane.up([(client(1), check(ufrag()))]) != []


def test_counts_say_what_happened_to_every_packet() -> None:
    """Received packets are forwarded or dropped for one reason, never lost from the books."""
    plane = Plane()
    plane.up([(client(1), check(ufrag())), (client(2), media()), (client(3), b"")])
    plane.up([(client(1), media()), (client(1), b"\x7f")])
    assert plane.count(Counter.UP_PACKETS) == 5
    assert plane.count(Counter.UP_FORWARDED) + sum(plane.drops().values()) == 5
