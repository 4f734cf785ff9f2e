"""Redis as parts: one server, or a master with replicas under sentinels that agree on who it is."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from launcher.addresses import LOOPBACK, Binding
from launcher.part import Part, Probe
from launcher.redis_server import binary, configuration, redis_part
from trunkline.process.address import Address

SERVICE = "trunkline"
SERVERS = 3
SENTINELS = 3
QUORUM = 2
PORTS = SERVERS + SENTINELS
DOWN_AFTER_MS = 1000
FAILOVER_TIMEOUT_MS = 5000
"""Between two attempts at a failover; with the default of three minutes a failed one is the end."""
ANSWER_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class RedisParts:
    """The processes, what to wait for before others start, and the URL for those others."""

    parts: tuple[Part, ...]
    ready: tuple[str, ...]
    url: str


def single(directory: Path, environment: Mapping[str, str]) -> RedisParts:
    """One server. Raises StartupError as `redis_part` does."""
    part, url = redis_part(directory, environment)
    part = replace(part, name="redis-1")
    return RedisParts((part,), (part.name,), url)


def with_sentinels(
    directory: Path, environment: Mapping[str, str], ports: Sequence[int]
) -> RedisParts:
    """Three servers, the first of them master, and three sentinels. `ports` are `PORTS` free ones.

    A sentinel asks the master for its replicas when it starts and then every ten seconds; so it
    starts after they have joined. Raises StartupError when the binary is not installed.
    """
    password = secrets.token_urlsafe(24)
    servers, sentinels = ports[:SERVERS], ports[SERVERS:PORTS]
    master, *replicas = (
        _server(directory, environment, number, port, password, servers[0])
        for number, port in enumerate(servers, 1)
    )
    followers = tuple(replace(part, after=(master.name,)) for part in replicas)
    joined = tuple(part.name for part in followers)
    watchers = tuple(
        replace(_sentinel(directory, environment, number, port, password, servers[0]), after=joined)
        for number, port in enumerate(sentinels, 1)
    )
    places = ",".join(str(Address(LOOPBACK, port)) for port in sentinels)
    return RedisParts(
        (master, *followers, *watchers),
        tuple(part.name for part in watchers),
        f"redis+sentinel://:{password}@{places}/{SERVICE}/0",
    )


def _server(
    directory: Path,
    environment: Mapping[str, str],
    number: int,
    port: int,
    password: str,
    master_port: int,
) -> Part:
    lines = [
        configuration(port, password, directory),
        f"masterauth {password}",
        f"dbfilename redis-{number}.rdb",
        "repl-diskless-sync yes",
        "repl-diskless-sync-delay 0",
        "repl-diskless-load swapdb",
    ]
    if port != master_port:
        lines.append(f"replicaof {LOOPBACK} {master_port}")
    ready = _joined(port, password) if port != master_port else _answers(port, password)
    return _part(f"redis-{number}", directory, environment, port, lines, ready)


def _sentinel(
    directory: Path,
    environment: Mapping[str, str],
    number: int,
    port: int,
    password: str,
    master_port: int,
) -> Part:
    lines = [
        f"port {port}",
        f"bind {LOOPBACK}",
        f'dir "{directory}"',
        "loglevel notice",
        f"sentinel monitor {SERVICE} {LOOPBACK} {master_port} {QUORUM}",
        f"sentinel auth-pass {SERVICE} {password}",
        f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}",
        f"sentinel failover-timeout {SERVICE} {FAILOVER_TIMEOUT_MS}",
        f"sentinel parallel-syncs {SERVICE} {SERVERS}",
    ]
    part = _part(f"sentinel-{number}", directory, environment, port, lines, _agrees(port))
    return replace(part, command=(*part.command, "--sentinel"))


def _part(
    name: str,
    directory: Path,
    environment: Mapping[str, str],
    port: int,
    lines: Sequence[str],
    ready: Probe,
) -> Part:
    config = directory / f"{name}.conf"
    config.touch(mode=0o600)
    config.write_text("\n".join((*lines, "")))
    return Part(
        name=name,
        command=(str(binary()), str(config)),
        ready=ready,
        environment=environment,
        binds=(Binding("tcp", LOOPBACK, port),),
        address=str(Address(LOOPBACK, port)),
        summary="directory, flow cache, limits" if name.startswith("redis") else "watches Redis",
    )


def _answers(port: int, password: str) -> Probe:
    """Ready when it serves as a master."""
    return _replication(port, password, {"role": "master"})


def _joined(port: int, password: str) -> Probe:
    """Ready when its copy of the master is complete; as master, when it has become one."""
    follows = _replication(port, password, {"role": "slave", "master_link_status": "up"})
    leads = _answers(port, password)

    async def probe() -> bool:
        return await follows() or await leads()

    return probe


def _replication(port: int, password: str, wanted: Mapping[str, str]) -> Probe:
    async def probe() -> bool:
        try:
            async with _client(port, password) as client:
                info = await client.info("replication")
        except (RedisError, OSError):
            return False
        return all(info.get(name) == value for name, value in wanted.items())

    return probe


def _agrees(port: int) -> Probe:
    """Ready when it knows every replica and every other sentinel: only then can it fail over."""

    async def probe() -> bool:
        try:
            async with _client(port) as client:
                state = dict(await client.sentinel_master(SERVICE))  # type: ignore[arg-type]
        except (RedisError, OSError):
            return False
        known = (int(state["num-slaves"]), int(state["num-other-sentinels"]))
        return known >= (SERVERS - 1, SENTINELS - 1)

    return probe


def _client(port: int, password: str | None = None) -> Redis:
    return Redis(
        host=LOOPBACK,
        port=port,
        password=password,
        socket_timeout=ANSWER_TIMEOUT_S,
        socket_connect_timeout=ANSWER_TIMEOUT_S,
        decode_responses=True,
    )


async def commands_processed(url: str) -> int | None:
    """How many commands a server has carried out; None when it does not answer."""
    try:
        async with Redis.from_url(url, socket_timeout=ANSWER_TIMEOUT_S) as client:
            return int((await client.info("stats"))["total_commands_processed"])
    except (RedisError, OSError):
        return None


async def master_port(sentinel_port: int) -> int | None:
    """Who a sentinel says is the master now; None when it does not answer or knows none."""
    try:
        async with _client(sentinel_port) as client:
            found = await client.sentinel_get_master_addr_by_name(SERVICE)
    except (RedisError, OSError):
        return None
    return int(found[1]) if isinstance(found, tuple) else None
