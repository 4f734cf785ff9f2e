"""Asks a process that somebody suspects whether it lives: the second witness.

A refused connection is an answer: nobody listens there. Silence is one after ANSWER_S. What is not
proven comes from no process of this fleet, so the process that was asked is not there any more.
"""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp import hdrs, web

from fleet.calls.owner import Owner
from transceiver.call.principal import NOBODY
from transceiver.pod.peer import pod
from transceiver.pod.proof import NotProven, Passed, Proofs
from transceiver.pod.signs_of_life import path_of
from trunkline.process.address import Address

ANSWER_S = 0.2


class Witness:
    """Asks with the proofs of this process."""

    def __init__(self, proofs: Proofs, answer_s: float = ANSWER_S) -> None:
        self._proofs = proofs
        self._answer_s = answer_s

    async def lives(self, owner: Owner, http: Address) -> bool:
        """Whether the process answers by itself at the HTTP port of its pod. Raises nothing."""
        peer = pod(http, self._proofs)
        try:
            async with asyncio.timeout(self._answer_s):
                answer = await peer.ask(Passed(hdrs.METH_GET, path_of(owner), NOBODY))
        except (aiohttp.ClientError, TimeoutError, NotProven):
            return False
        finally:
            await peer.close()
        return answer.status == web.HTTPOk.status_code
