"""What keeps a process from starting is one line, and this line, whichever process it is."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from launcher.variables import without
from tests.conftest import RedisServer, free_port
from tests.fleet.certificates import Authority

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 60.0
FLEET = ("relay", "transceiver")
EVERY = (*FLEET, "backends.echo")
GOOD = {
    "TRUNKLINE_TOKEN_KEYS": "1:" + "11" * 32,
    "TRUNKLINE_TRUNK_KEYS": "1:" + "22" * 32,
    "TRUNKLINE_TRANSCEIVER_RELAYS": "203.0.113.10:3478",
    "TRUNKLINE_TRANSCEIVER_API_KEYS": "key-one",
    "TRUNKLINE_TRANSCEIVER_HTTP": "127.0.0.1:0",
    "TRUNKLINE_TRANSCEIVER_ADMIN": "127.0.0.1:0",
    "TRUNKLINE_RELAY_HOST": "127.0.0.1",
    "TRUNKLINE_RELAY_WORKERS": "1",
    "TRUNKLINE_RELAY_ADMIN": "127.0.0.1:0",
    "TRUNKLINE_BACKEND_LISTEN": "127.0.0.1:0",
    "TRUNKLINE_BACKEND_ADMIN": "127.0.0.1:0",
}


async def started(module: str, redis_url: str, **variables: str) -> tuple[int, list[str]]:
    """Run a process that cannot start; its exit status and what it said that is no log line."""
    ports = {
        "TRUNKLINE_RELAY_PORT": str(free_port()),
        "TRUNKLINE_RELAY_METRICS": f"127.0.0.1:{free_port()}",
        "TRUNKLINE_REDIS_URL": redis_url,
    }
    environment = {**without(os.environ), **GOOD, **ports, **variables}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module),
        cwd=ROOT,
        env={**environment, "TRUNKLINE_LOG_FORMAT": "json"},
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(TIMEOUT_S):
        _, output = await process.communicate()
    lines = output.decode().splitlines()
    return process.returncode or 0, [line for line in lines if not line.startswith("{")]


@pytest.mark.parametrize("module", FLEET)
async def test_redis_unreachable(module: str) -> None:
    """With host and port, and without the user and password of the URL."""
    port = free_port()
    output = await started(module, f"redis://user:hunter2@127.0.0.1:{port}/0")
    line = f"cannot start: Redis at 127.0.0.1:{port} cannot be reached (connection refused)"
    assert output == (1, [line])


@pytest.mark.parametrize("module", FLEET)
async def test_redis_wrong_password(module: str, make_redis: Any) -> None:
    """What is refused is said, what was tried is not."""
    locked: RedisServer = make_redis("--requirepass", "right")
    output = await started(module, f"redis://:wr0ng@127.0.0.1:{locked.port}/0")
    line = f"cannot start: Redis at 127.0.0.1:{locked.port} refused the user or password"
    assert output == (1, [line])


NOTATION = "each key is written ID:HEX, an id (0–15) and 64 hex digits"  # noqa: RUF001


@pytest.mark.parametrize("module", FLEET)
@pytest.mark.parametrize(
    ("key", "rule"),
    [
        ("1:55aa", NOTATION),
        ("5" * 64, NOTATION),
        (f"1:{'x' * 64}", NOTATION),
        (f"16:{'5' * 64}", "key id 16 is not within 0 to 15"),
    ],
)
async def test_a_wrong_key(module: str, key: str, rule: str, redis_url: str) -> None:
    """The variable and the rule, and none of the key."""
    output = await started(module, redis_url, TRUNKLINE_TOKEN_KEYS=key)
    assert output == (2, [f"TRUNKLINE_TOKEN_KEYS: {rule}"])


@pytest.mark.parametrize("module", EVERY)
async def test_an_expired_admin_certificate(module: str, redis_url: str, tmp_path: Path) -> None:
    """With the variable, the moment and the cure."""
    certificate, key = Authority(tmp_path).issue("server", lasts=timedelta(days=-1))
    status, lines = await started(
        module,
        redis_url,
        TRUNKLINE_ADMIN_TLS_CERT=str(certificate),
        TRUNKLINE_ADMIN_TLS_KEY=str(key),
    )
    assert (status, len(lines)) == (1, 1)
    line = r"cannot start: TRUNKLINE_ADMIN_TLS_CERT: expired on \S+( \S+)? UTC; renew it"
    assert re.fullmatch(line, lines[0]), lines[0]
