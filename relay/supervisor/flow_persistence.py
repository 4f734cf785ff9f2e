"""The supervisor's part of recovery: it asks the store for workers, and writes flows to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from relay.settings import RelaySettings
from relay.supervisor.crew import Crew
from relay.supervisor.flow_cache import WRITE_TIMEOUT_S, FlowCache
from relay.supervisor.flow_store import RedisFlowStore
from relay.supervisor.post import Post
from relay.supervisor.questions import Questions


class Remembering:
    """Two connections to the store, so that no question waits behind a write."""

    def __init__(self, settings: RelaySettings, crew: Crew) -> None:
        url, cluster = settings.redis_url.get_secret_value(), settings.cluster
        self._enabled = settings.relay_flow_cache
        self._read_store = RedisFlowStore(url, cluster, crew.token_keys)
        self._write_store = RedisFlowStore(
            url, cluster, crew.token_keys, answer_timeout_s=WRITE_TIMEOUT_S
        )
        self._questions = Questions(self._read_store, crew.store_counts)
        self._cache = FlowCache(
            self._write_store,
            [post.memory.flows for post in crew.posts],
            settings.relay_flow_idle_s,
            crew.store_counts,
        )
        self._replies = {post.number: partial(crew.answer, post) for post in crew.posts}
        crew.ask = self._ask

    def loops(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """What writes and answers until cancelled, by name: a task for each, ended by
        `fleet.ending`.

        Not a task group in here: it would pass a cancellation on once, and one that redis-py
        swallows has to be repeated. A relay with a write on its way hung on SIGTERM that way.
        """
        if not self._enabled:
            return {}
        return {"flow_questions": self._questions.run, "flow_cache": self._cache.run}

    async def close(self) -> None:
        """Let go of the connections."""
        await self._read_store.close()
        await self._write_store.close()

    def _ask(self, post: Post, addresses: list[bytes]) -> None:
        reply = self._replies[post.number]
        if self._enabled:
            self._questions.ask(addresses, reply)
        else:
            reply(dict.fromkeys(addresses))
