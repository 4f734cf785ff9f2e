"""How a transceiver ends: no new calls, time for live ones, and a reason for the rest.

    SIGTERM ─▶ draining ── no call left, or the deadline, or a second signal ─▶ goodbyes ─▶ gone
                  └── calls move to other processes (`transceiver.moves`)

While it drains the process says 503 to new calls and to `/healthz`, NOT_SERVING to health checks,
and `draining` in the directory; calls that are there can still be ended or moved by their callers.
"""

from __future__ import annotations

import asyncio

import structlog

from fleet.ending import first_of
from transceiver.engine.engine import Engine
from transceiver.node import NodeKeeper

GOODBYE_S = 2.0  # for messages to callers and their answers to leave; ten times what it takes

LINGER_S = 0.5
"""For packets of calls that have moved away: relay workers know of it in a few milliseconds."""

log = structlog.get_logger(__name__)


async def leave(node: NodeKeeper, engine: Engine, deadline_s: float, stop: asyncio.Event) -> None:
    """Return when no call is left; `stop` was set, and set again it ends the waiting."""
    stop.clear()
    log.info("drain_began", calls=len(engine.calls()), deadline_s=deadline_s)
    node.begin_leaving()
    # Told to the directory at the same time: a store that does not answer takes none of the time.
    await first_of(deadline_s, _drained(node, engine), stop.wait())
    left = engine.dismiss_all("drained")
    if left:
        await first_of(GOODBYE_S, engine.idle())
    elif engine.between.gone and not stop.is_set():
        await first_of(LINGER_S, stop.wait())
    log.info("drain_ended", calls_dismissed=left)


async def _drained(node: NodeKeeper, engine: Engine) -> None:
    await node.beat()
    await engine.idle()
