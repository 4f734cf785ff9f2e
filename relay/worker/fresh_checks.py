"""What a valid STUN check may still not do: be somebody's recording, or one of too many.

A check proves that its sender knew the call's password when it was made, not that it was made now
or here: STUN has no time in it (RFC 8489), and the address is not covered. Three rules follow.

- A transaction belongs to its call and to the address it was first seen from. The same transaction
  from another address is a recording that somebody else sends. Browsers choose a fresh 96-bit id
  for every check; a caller whose NAT rebinds within one loses that check and not the next. (A
  device that has one id for ever cannot change its address within a call.)
- From its own address a transaction may come again: STUN retransmits. But it is no news then, and
  moves no flow: behind a NAT the address may have been given to somebody else since.
- One ufrag makes at most `ADDRESS_BURST` flows at once, and then one in ten seconds. A caller has
  a handful of candidates and changes networks now and then; whoever shares a call's credentials
  with a crowd cannot fill the flow table with it.

Both tables are of fixed size. The log of transactions (`relay.shared.check_log`) is shared by all
workers of a relay.
"""

from __future__ import annotations

import numpy as np

from relay.shared.check_log import CheckLog, Seen
from relay.worker.limits import TokenBuckets
from wire.errors import WireError

ADDRESS_BURST = 32
ADDRESS_RATE_PER_S = 0.1


class FreshChecks:
    """The rules, for one worker."""

    def __init__(self, log: CheckLog) -> None:
        self._log = log
        self._addresses = TokenBuckets(ADDRESS_RATE_PER_S, ADDRESS_BURST, buckets=1 << 14)

    def admit(self, ufrag: str, transaction_id: bytes, address: bytes) -> bool:
        """Whether the call's check is a repeat, which may not move a flow.

        Raises WireError `stun_replay` for one that was first seen from another 18-byte address.
        """
        seen = self._log.seen(ufrag, transaction_id, address)
        if seen is Seen.ELSEWHERE:
            raise WireError("stun_replay")
        return seen is Seen.HERE

    def admit_address(self, ufrag: str, now_ms: int) -> None:
        """Raise WireError `ufrag_addresses` when this ufrag has made too many flows."""
        key = np.array([self._log.hash(ufrag.encode())], np.uint64)
        if not self._addresses.admit(key, now_ms)[0]:
            raise WireError("ufrag_addresses")
