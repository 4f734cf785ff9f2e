"""What a worker counts: a number for each fact, and one for each reason to drop a packet.

The numbers live in shared memory, written by the worker alone and read by the supervisor. Names
are the metric labels and the keys of the admin API; they are only ever added to.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt


class Counter(IntEnum):
    """Index of each counter."""

    # client → transceiver
    UP_PACKETS = 0  # received from clients
    UP_BYTES = 1
    UP_BATCHES = 2  # receive calls that brought something
    UP_FORWARDED = 3  # packets handed to a transceiver
    UP_DATAGRAMS = 4  # trunk datagrams that carried them
    UP_SPLIT = 14  # packets too long for one trunk datagram, carried in two
    # transceiver → client
    DOWN_DATAGRAMS = 5
    DOWN_BYTES = 6
    DOWN_BATCHES = 7
    DOWN_PACKETS = 8  # sent to clients
    # flows
    STUN_REQUESTS = 9
    FLOWS_MADE = 10
    FLOWS_MOVED = 11
    FLOWS_EXPIRED = 12
    FLOWS_EVICTED = 13
    FLOWS_CLAIMED = 15  # pointed to another transceiver by a claim
    # calls that are another process's than their token says
    CLAIMS = 16  # carried out, repeats among them
    CLAIMS_ANSWERED = 17
    CHECKS_CLAIMED = 18  # STUN requests that went where a claim said
    SIGNS_OF_LIFE = 19
    # a packet from a client that went no further
    DROP_EMPTY = 20
    DROP_OVERSIZE = 21  # longer than the trunk carries, also in two parts
    DROP_NOT_WEBRTC = 22  # first byte belongs to none of the protocols (RFC 7983)
    DROP_UNKNOWN_ADDRESS = 23  # not STUN, and no flow
    DROP_FLOW_TABLE_FULL = 24
    DROP_UNKNOWN_NODE = 25  # the token's node is not in the directory
    DROP_STALE_EPOCH = 26  # the node index has a new owner
    DROP_FOREIGN_CLUSTER = 27
    DROP_STUN_INTEGRITY = 28
    DROP_STUN_SHORT = 29
    DROP_STUN_TYPE = 30
    DROP_STUN_COOKIE = 31
    DROP_STUN_LENGTH = 32
    DROP_STUN_ATTRIBUTE = 33
    DROP_STUN_FINGERPRINT = 34
    DROP_STUN_NO_USERNAME = 35
    DROP_STUN_USERNAME = 36
    DROP_TOKEN_LENGTH = 37
    DROP_TOKEN_ALPHABET = 38
    DROP_TOKEN_KEY = 39
    DROP_TOKEN_MAC = 40
    DROP_UP_SEND_BUFFER_FULL = 41
    DROP_UP_SEND_REFUSED = 42
    # a trunk datagram that went no further
    DROP_TRUNK_SHORT = 50
    DROP_TRUNK_VERSION = 51
    DROP_TRUNK_KEY = 52
    DROP_TRUNK_TAG = 53
    DROP_TRUNK_EMPTY = 54
    DROP_TRUNK_LENGTH = 55
    DROP_TRUNK_FRAME_TYPE = 56
    DROP_TRUNK_SENDER = 57  # not a node of the directory, or of an old epoch
    DROP_TRUNK_REPLAY = 58
    DROP_TRUNK_STALE = 59
    DROP_TRUNK_FRAMES = 62  # more frames than a datagram may have
    DROP_TRUNK_FENCED = 66  # its sender was lost, and others have its calls
    DROP_TRUNK_CLAIM = 67  # a claim that cannot be read
    DROP_TRUNK_CLAIM_TOKEN = 68  # a claim of a ufrag that no transceiver of this cluster made
    DROP_TRUNK_CLAIM_OWNER = 69  # a claim for a node that the directory does not have
    DROP_TRUNK_CLAIM_LIMITED = 70  # more claims than a worker carries out
    DROP_DOWN_SEND_BUFFER_FULL = 60
    DROP_DOWN_SEND_REFUSED = 61
    # faults of our own
    WORKER_FAULTS = 63  # steps of a worker's loop that raised, and that it survived
    DROP_UP_FAULT = 64  # a packet from a client at which the worker raised
    DROP_DOWN_FAULT = 65  # a trunk datagram at which it did
    # telemetry and defence
    UP_QUEUE_OVERFLOW = 90  # lost in the kernel: the worker came too late
    DOWN_QUEUE_OVERFLOW = 91
    DROP_RATE_LIMITED = 92  # no flow, and its source prefix sent too many such packets
    DROP_CHECKS_LIMITED = 93  # a STUN request of a known address that sends too many
    DROP_PACKETS_LIMITED = 94  # its source prefix sent too many packets of any kind
    DROP_STUN_REPLAY = 95  # the transaction was seen from another address
    DROP_UFRAG_ADDRESSES = 96  # the call uses more addresses than a caller has
    DROP_TRUNK_SOURCE = 97  # not from the trunk address that the directory gives the sender
    DROP_UP_STALE = 98  # had waited in the socket for more than a second: no part of a talk now
    DROP_DOWN_STALE = 99  # the same, in trunk datagrams
    # recovery
    RECOVERED_SIBLING = 100  # flows found in another worker's table
    RECOVERED_REDIS = 101  # flows the store knew
    RECOVERED_STUN = 102  # flows a STUN request brought while they were asked about
    PARKED = 103  # packets kept while their address was asked about
    PARKED_RELEASED = 104  # of them, forwarded
    PARKED_NOW = 105
    DROP_PARKED_EXPIRED = 106  # no answer in time
    DROP_PARKING_FULL = 107
    DROP_NOT_ASKED = 108  # more unknown addresses than may be asked about in a second
    QUESTIONS_LOST = 109  # the supervisor did not read them in time


# What rises and falls; all others only rise.
GAUGES = frozenset({Counter.PARKED_NOW})

COUNTER_ROOM = 128  # how many fit the shared memory; the rest is for later

Counts = npt.NDArray[np.uint64]


def drop(reason: str) -> Counter:
    """The counter of a drop reason, for instance a `wire.errors.WireError.reason`."""
    return Counter[f"DROP_{reason.upper()}"]


def named(counts: Counts) -> dict[str, int]:
    """All counters by name, in lower case."""
    return {counter.name.lower(): int(counts[counter]) for counter in Counter}
