"""A stack for a measurement: the engine alone on one core, everything else on the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from fleet.directory.redis_store import RedisStore
from launcher import Stack, StartupError
from loadtest.benchmark import Check, Result
from loadtest.media_bench.links import TrunkLink
from loadtest.relay_bench.cores import Cores, choose_cores, pin, pinned
from wire.keys import KeyRing

ENGINE = "transceiver"
QUIET = {
    "TRUNKLINE_LOG_LEVEL": "warning",
    "TRUNKLINE_TRANSCEIVER_MAX_CALLS": "20000",
    "TRUNKLINE_TRANSCEIVER_LEARN_CAPACITY": "false",
}
"""Settings of every measured stack. It refuses nobody: what it can carry is the question, and a
process that learns takes no call beyond 80 % of its core."""


@contextmanager
def laid_out(stack: Stack, engine: str = ENGINE) -> Iterator[Cores]:
    """Pin the part `engine` to one core; this process and all other parts to another.

    Raises StartupError when there is only one core.
    """
    cores = choose_cores()
    with pinned(cores.load):
        for name, keeper in stack.parts.items():
            if keeper.running:
                pin(keeper.pid, cores.forwarder if name == engine else cores.load)
        yield cores


async def trunk_link(stack: Stack) -> TrunkLink:
    """Stand in for a relay: the keys of the stack, the node from its directory.

    Raises StartupError when the directory has no node.
    """
    token_keys = KeyRing.parse(stack.variables["TRUNKLINE_TOKEN_KEYS"])
    redis_url, cluster = stack.variables["TRUNKLINE_REDIS_URL"], cluster_of(stack.variables)
    store = RedisStore(redis_url, cluster, lambda: token_keys)
    try:
        nodes = (await store.snapshot()).nodes
    finally:
        await store.close()
    if not nodes:
        raise StartupError("no transceiver holds a node index")
    trunk = nodes[0].trunk
    return TrunkLink(
        KeyRing.parse(stack.variables["TRUNKLINE_TRUNK_KEYS"]), (trunk.host, trunk.port)
    )


def not_ours() -> Result:
    """Return what to say when a target was given: its processes are not ours to pin and watch."""
    detail = "it measures processes, so it starts them itself: leave --target out"
    return Result(checks=[Check("a stack of our own", passed=False, detail=detail)])


def cluster_of(variables: Mapping[str, str]) -> int:
    """Return the cluster number of a stack."""
    return int(variables.get("TRUNKLINE_CLUSTER", "0"))
