"""Refuses valid STUN checks that are recordings, or one of too many.

A check proves that its sender knew the password of the call when the check was made. It does not
prove that it was made now or here, because STUN has no time in it (RFC 8489) and the address is not
covered. So there are three rules.

- A transaction belongs to its call and to the address from which it was first seen. The same
  transaction from another address is a recording that somebody else sends. Browsers choose a fresh
  id of 96 bits for every check. If a caller's NAT rebinds during one check, the caller loses that
  check and not the next one. A device that has one id for ever cannot change its address in a call.
- A transaction may come again from its own address, because STUN retransmits. But it is not new
  then, and it moves no flow: a NAT may have given the address to somebody else meanwhile.
- One ufrag makes at most `ADDRESS_BURST` flows at once, and then one in ten seconds. A caller has a
  few candidates, and changes networks now and then. Somebody who shares the credentials of a call
  with a crowd cannot fill the flow table.

Both tables have a fixed size. All workers of a relay share the log of transactions
(`relay.shared.check_log`).
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
