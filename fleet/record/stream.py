"""The stream in Redis between those who write the record and those who store it.

    trunkline:{cluster}:record:stream     entries: w writer, n number, b a sealed Batch
    trunkline:{cluster}:record:bytes      how many characters of batches are in it
    trunkline:{cluster}:record:stored:W   numbers of batches of writer W that were stored

A batch is sealed (`fleet.seal`) under the name of its writer and its number: who reads Redis sees
neither what was said nor whose calls there are, and who writes to it can add nothing. An entry that
somebody repeats changes nothing, because events are stored once.

The stream is bounded by bytes. When it is full it takes nothing, rather than drop what nobody has
read; writers wait, and count what they cannot keep.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from fleet.redis_link import RedisLink
from fleet.seal import BrokenSeal, Keys, Seal
from trunkline.v1 import record_pb2 as pb

ANSWER_TIMEOUT_S = 2.0
MAX_STREAM_CHARS = 64 * 1024 * 1024
LARGEST_SEALED = 512 * 1024  # characters; a batch has 100 KiB at most
STORED_KEPT_S = 600  # a writer asks every few hundred ms
MAX_STORED_AT_ONCE = 1000
# Nothing is added to a full stream; an empty one counts from 0 again, whatever was lost before.
PUT = """
local count = tonumber(redis.call('GET', KEYS[2]) or '0')
if redis.call('EXISTS', KEYS[1]) == 0 or redis.call('XLEN', KEYS[1]) == 0 then count = 0 end
if count + #ARGV[3] > tonumber(ARGV[4]) then return false end
redis.call('SET', KEYS[2], count + #ARGV[3])
return redis.call('XADD', KEYS[1], '*', 'w', ARGV[1], 'n', ARGV[2], 'b', ARGV[3])
"""


@dataclass(frozen=True, slots=True)
class StreamKeys:
    """Names in Redis of one cluster's record."""

    cluster: int

    @property
    def stream(self) -> str:
        """The stream."""
        return f"{self._prefix}stream"

    @property
    def size(self) -> str:
        """What is in it, in characters."""
        return f"{self._prefix}bytes"

    def stored(self, writer: str) -> str:
        """What of a writer's was stored."""
        return f"{self._prefix}stored:{writer}"

    @property
    def _prefix(self) -> str:
        return f"trunkline:{{{self.cluster}}}:record:"


class BatchSeal:
    """Seals and opens batches of one cluster with the ring that `keys` gives."""

    def __init__(self, keys: Keys, cluster: int) -> None:
        self._seal = Seal(keys, "record", cluster, LARGEST_SEALED)

    def seal(self, writer: str, number: int, content: bytes) -> str:
        """A serialized Batch as it stands in the stream."""
        return self._seal.seal(_name(writer, str(number)), content)

    def open(self, writer: object, number: object, sealed: object) -> pb.Batch:
        """The batch. Raises BrokenSeal for what no writer of this fleet put there."""
        if not isinstance(writer, str) or not isinstance(number, str):
            raise BrokenSeal("not an entry of the record")
        content = self._seal.open(_name(writer, number), sealed)
        return pb.Batch.FromString(content)


def _name(writer: str, number: str) -> bytes:
    return f"{writer}/{number}".encode()


class RecordStream:
    """The writing end, in the Redis at `url`. Every method raises StoreUnavailable.

    No command is repeated: the writer keeps what was not confirmed and comes again.
    """

    def __init__(
        self,
        url: str,
        cluster: int,
        keys: Keys,
        *,
        max_chars: int = MAX_STREAM_CHARS,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> None:
        """Raise ValueError for a URL that cannot be read."""
        self._link = RedisLink(url, answer_timeout_s=answer_timeout_s, retries=0)
        self._redis = self._link.client
        self._keys = StreamKeys(cluster)
        self._seal = BatchSeal(keys, cluster)
        self._max_chars = max_chars
        self._put = self._redis.register_script(PUT)

    async def put(self, writer: str, number: int, content: bytes) -> str | None:
        """Add a serialized Batch; the id of its entry, or None when the stream is full."""
        sealed = self._seal.seal(writer, number, content)
        with self._link.failures_named():
            entry = await self._put(
                keys=[self._keys.stream, self._keys.size],
                args=[writer, number, sealed, self._max_chars],
            )
        return str(entry) if entry else None

    async def stored(self, writer: str) -> list[int]:
        """Numbers of batches that were stored since this was asked last."""
        with self._link.failures_named():
            numbers = await self._redis.lpop(self._keys.stored(writer), MAX_STORED_AT_ONCE)
            return [int(number) for number in numbers or ()]

    async def missing(self, entries: Sequence[str]) -> Collection[str]:
        """Those of the entries that are not in the stream (any more)."""
        with self._link.failures_named():
            async with self._redis.pipeline(transaction=False) as pipe:
                for entry in entries:
                    pipe.xrange(self._keys.stream, entry, entry, count=1)
                found = await pipe.execute()
        return {entry for entry, there in zip(entries, found, strict=True) if not there}

    async def close(self) -> None:
        """Let go of all connections."""
        await self._link.close()
