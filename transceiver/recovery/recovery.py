"""What a process does so that calls outlive processes: it keeps its own, and takes those of others.

engine ─▶ CheckpointWriter ─▶ RedisCheckpoints ─▶ Taker ─▶ engine
             SuspicionChannel ─▶ Ear ─▶ Cases ──────┘
              RedisStore ─▶ DirectoryFollower ┘ └─▶ Witness
"""

from __future__ import annotations

import asyncio

from fleet.calls.redis_checkpoints import RedisCheckpoints
from fleet.directory.follower import DirectoryFollower
from fleet.directory.redis_store import RedisStore
from fleet.ending import end
from fleet.seal import Keys
from fleet.suspicion import SuspicionChannel
from transceiver.engine.engine import Engine
from transceiver.media import Media
from transceiver.node import NodeKeeper
from transceiver.pod.proof import Proofs
from transceiver.recovery.cases import Cases
from transceiver.recovery.checkpoint import Checkpoints
from transceiver.recovery.ear import Ear
from transceiver.recovery.taker import Taker
from transceiver.recovery.witness import Witness
from transceiver.recovery.writer import CheckpointWriter


class Recovery:
    """Of one process, in the Redis at `url`. Made before the lease, closed after the last call."""

    def __init__(self, engine: Engine, url: str, cluster: int, keys: Keys) -> None:
        """Raise ValueError for a URL that cannot be read."""
        self._engine = engine
        self._store = RedisCheckpoints(url, cluster)
        self._channel = SuspicionChannel(url, cluster, keys)
        self._checkpoints = Checkpoints(keys, cluster)
        self._writer = CheckpointWriter(engine, self._store, self._checkpoints, engine.now)
        self._cases: Cases | None = None
        self._tasks: list[asyncio.Task[None]] = []
        engine.listen_changed(self._writer.changed)
        engine.listen_ended(self._writer.ended)

    def start(self, node: NodeKeeper, store: RedisStore, media: Media, proofs: Proofs) -> None:
        """Keep calls, and take those of others, from now on."""
        engine, follower = self._engine, DirectoryFollower(store)
        taker = Taker(
            *(engine, self._store, self._checkpoints),
            # Whichever process of the backend: one that does not hold the call restores it.
            backend_of=lambda state: media.backends.resuming(state.link.name, ""),
        )
        self._cases = Cases(
            follower.directory,
            Witness(proofs),
            store,
            taker,
            lambda: engine.owner,
            engine.count,
            node.beat,
        )
        ear = Ear(self._channel, self._cases.hear)
        loops = (self._writer.run(), follower.run(), ear.run())
        self._tasks = [asyncio.create_task(loop) for loop in loops]

    async def close(self) -> None:
        """Take no more, and let the store forget the calls that have ended."""
        await end(self._tasks)
        if self._cases is not None:
            await self._cases.close()
        await self._writer.close()
        await self._channel.close()
        await self._store.close()
