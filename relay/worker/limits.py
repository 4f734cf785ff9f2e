"""Limits what strangers may cost, before anything of a packet is parsed.

Three budgets hold single sources, each a table of token buckets:

    strangers   packets from addresses without a flow, by source prefix       strict
    checks      STUN requests from addresses with a flow, by address          what ICE needs, twice
    packets     everything, by source prefix                                  off unless set

The first two do not count media of a live flow. Behind a carrier's NAT thousands of callers share a
prefix, and if one of them floods, the others must not lose a word. For the same reason the checks
of a live caller have a budget for their own address, and not for the prefix. Otherwise a neighbour
who uses up the prefix could end calls by consent (RFC 7675).

A table has a fixed number of buckets, and a keyed hash indexes it. Two sources can share a bucket,
and then they share its budget. With 65,536 buckets this costs an honest source something only if it
shares with one that floods. The key is random, so nobody can choose with whom to share. Nothing is
stored for a source but its bucket, and nothing grows.

Two more budgets hold all strangers of a worker together, because a flood from everywhere has as
many prefixes as it wants. A first check costs about 30 µs, and unknown media about 10 µs. Times
these rates, that leaves most of the core to live calls, and a burst is over before the queue of
the socket is full. During such a flood a new caller is served only by chance. ICE asks again (RFC
8445 §14), six times in the first four seconds.

Each worker has its own limits. If the kernel spreads the clients of a prefix over n workers, that
prefix has n budgets.
"""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

from relay.shared.rates import Rates
from relay.worker.allowance import Allowance

U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

# A /24 is the smallest IPv4 network the internet routes, a /48 what one IPv6 site is given
# (RFC 6177 §2): below that an attacker has as many addresses as he wants for nothing. It is also
# what the logs show of an address, so an operator can match a limit with a log line.
V4_PREFIX_BITS = 24
V6_PREFIX_BITS = 48

BUCKETS = 65_536  # 16 bytes each
BURST_S = 2  # a bucket holds this much of its rate

# Of all strangers together; the shares of a core these cost stand above.
FIRST_CHECKS_PER_S = 5_000
UNKNOWN_MEDIA_PER_S = 10_000
_AT_ONCE_S = 0.04  # 200 first checks are 6 ms; a receive queue of 8 MB holds 50 ms of a flood

# An address's words are the packet's bytes read as little-endian numbers: the first byte is lowest.
_V4_MAPPED = np.uint64(0xFFFF0000)
_LOW_32 = np.uint64(0xFFFFFFFF)
_V4_MASK = np.uint64((1 << 32 + V4_PREFIX_BITS) - 1)
_V6_MASK = np.uint64((1 << V6_PREFIX_BITS) - 1)
_HALF = np.uint64(32)
_NONE = np.zeros(0, np.bool_)


class TokenBuckets:
    """Token buckets by 64-bit key: `rate_per_s` tokens a second, at most `burst` at once.

    A rate of 0 admits everything. What is kept of a bucket is how much of it is spent, so that
    fresh memory is a table of full buckets.
    """

    def __init__(self, rate_per_s: float, burst: float, buckets: int = BUCKETS) -> None:
        """`buckets` is a power of two."""
        self._key = np.frombuffer(os.urandom(16), np.uint64) | np.uint64(1)
        self._mask = np.uint64(buckets - 1)
        self._spent: npt.NDArray[np.float64] = np.zeros(buckets)
        self._seen_ms: npt.NDArray[np.int64] = np.zeros(buckets, np.int64)
        self.change(rate_per_s, burst)

    def change(self, rate_per_s: float, burst: float) -> None:
        """Other figures from now on; what is spent stays spent."""
        self.rate_per_s, self.burst = rate_per_s, burst

    def admit(self, keys: U64, now_ms: int) -> Mask:
        """Which of n packets, in their order, may pass now (`keys` says whose each is)."""
        if not self.rate_per_s:
            return np.ones(keys.size, np.bool_)
        buckets = self._buckets(keys)
        # Packets of one bucket side by side, in their order: the first so many of them pass.
        order = buckets.argsort(kind="stable")
        firsts = np.flatnonzero(np.diff(buckets[order], prepend=-1))
        counts = np.diff(firsts, append=keys.size)
        tokens = self._take(buckets[order][firsts], counts, now_ms)
        ranks = np.arange(keys.size) - np.repeat(firsts, counts)
        admitted: Mask = np.empty(keys.size, np.bool_)
        admitted[order] = ranks < np.repeat(tokens, counts)
        return admitted

    def _take(
        self, buckets: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64], now_ms: int
    ) -> npt.NDArray[np.int64]:
        """Whole tokens given to each of these different buckets, at most `wanted`."""
        refilled = (now_ms - self._seen_ms[buckets]) * (self.rate_per_s / 1000)
        spent = np.clip(self._spent[buckets] - refilled, 0, self.burst)
        given = np.minimum(wanted, (self.burst - spent).astype(np.int64))
        self._spent[buckets] = spent + given
        self._seen_ms[buckets] = now_ms
        return given

    def _buckets(self, keys: U64) -> npt.NDArray[np.int64]:
        mixed = (keys ^ self._key[0]) * self._key[1]
        mixed ^= mixed >> _HALF
        mixed *= self._key[1]
        buckets: npt.NDArray[np.int64] = (mixed >> _HALF & self._mask).astype(np.int64)
        return buckets


class SourceLimits:
    """The three budgets of one worker. Addresses are n x 2 words as in `relay.shared.flows`."""

    def __init__(self, rates: Rates) -> None:
        self._strangers = TokenBuckets(*_figures(rates.strangers))
        self._checks = TokenBuckets(*_figures(rates.checks))
        self._packets = TokenBuckets(*_figures(rates.packets))
        self._all_first_checks = _of_all(FIRST_CHECKS_PER_S)
        self._all_unknown_media = _of_all(UNKNOWN_MEDIA_PER_S)

    def change(self, rates: Rates) -> None:
        """Other rates from now on."""
        self._strangers.change(*_figures(rates.strangers))
        self._checks.change(*_figures(rates.checks))
        self._packets.change(*_figures(rates.packets))

    @property
    def holds_packets(self) -> bool:
        """Whether `packets` refuses anything, so that a batch need not ask when it does not."""
        return self._packets.rate_per_s > 0

    def first_checks(self, addresses: U64, now_ms: int) -> Mask:
        """Which STUN requests from addresses without a flow may be looked at."""
        return self._strangers_of(addresses, now_ms, self._all_first_checks)

    def unknown_media(self, addresses: U64, now_ms: int) -> Mask:
        """Which other packets from addresses without a flow may be asked about."""
        return self._strangers_of(addresses, now_ms, self._all_unknown_media)

    def _strangers_of(self, addresses: U64, now_ms: int, of_all: Allowance) -> Mask:
        if not len(addresses):
            return _NONE
        admitted = self._strangers.admit(prefixes(addresses), now_ms)
        wanted = int(np.count_nonzero(admitted))
        given = of_all.take(wanted, now_ms)
        if given < wanted:
            admitted[admitted.nonzero()[0][given:]] = False
        return admitted

    def checks(self, hashes: U64, now_ms: int) -> Mask:
        """Which STUN requests from addresses with a flow may be looked at, by `flows.hashes`."""
        return self._checks.admit(hashes, now_ms) if len(hashes) else _NONE

    def packets(self, addresses: U64, now_ms: int) -> Mask:
        """Which packets of any kind may be looked at."""
        return self._packets.admit(prefixes(addresses), now_ms) if len(addresses) else _NONE


def prefixes(addresses: U64) -> U64:
    """The source prefix of n addresses as one word each: /24 of a mapped IPv4, /48 of an IPv6."""
    high, low = addresses[:, 0], addresses[:, 1]
    is_v4 = (high == 0) & (low & _LOW_32 == _V4_MAPPED)
    # A prefix of ::ffff:… and one of 0:0:ffff:…/48 could be the same word; nobody has the latter.
    words: U64 = np.where(is_v4, low & _V4_MASK, high & _V6_MASK)
    return words


def _of_all(rate_per_s: int) -> Allowance:
    return Allowance(rate_per_s, rate_per_s * _AT_ONCE_S)


def _figures(rate: int) -> tuple[float, float]:
    return float(rate), float(rate * BURST_S)
