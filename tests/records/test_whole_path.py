"""A real call through relay, transceiver and backend, and what is in the store afterwards."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from launcher.stack import Stack, StackSettings
from loadtest.callers.dtls import Identity
from loadtest.callers.light_caller import LightCaller
from loadtest.target import Target
from records.store import reading
from records.store.reading import CallFilter
from records.store.store import Store
from trunkline.v1 import record_pb2 as pb

BACKEND = Path(__file__).with_name("talking_backend.py")
SECRETS = ("030 1234567", "tl-", "Bearer")


def everything_in(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.iterdir())


async def ended_calls(store: Store, count: int) -> list[dict[str, Any]]:
    """The rows once so many calls have ended, and everything of them is stored."""
    while True:
        with store.reading() as connection:
            rows = reading.calls(connection, CallFilter(live=False))
        if len(rows) == count:
            return rows
        await asyncio.sleep(0.05)


@pytest.mark.timeout(240)
async def test_a_call_is_remembered(tmp_path: Path) -> None:
    """From its offer to its end: who, what was said, sound, turns, and why it ended."""
    url = f"sqlite:///{tmp_path}/records.db"
    settings = StackSettings(backend=f"{BACKEND}:talk", records=url)
    async with Stack(settings) as stack, aiohttp.ClientSession() as http:
        target = Target(stack.console_url, stack.api_key, stack)
        caller = LightCaller(http, target, Identity.make(), [b"\xf8\xff\xfe"] * 5, echoes=5)
        await caller.place(timeout_s=30)
        store = Store(url)
        (row,) = await ended_calls(store, 1)
        call_id = row["call_id"]
        with store.reading() as connection:
            events = reading.events(connection, call_id)
            transcript = reading.transcript(connection, call_id)
            turns = reading.turns(connection, call_id)
            media = reading.media(connection, call_id)
            (source,) = reading.sources(connection, call_id)
    kinds = [event.WhichOneof("body") for event in events]
    in_order = ["placed", "backend", "session", "answered", "ice", "dtls", "connected", "ended"]
    assert [kind for kind in dict.fromkeys(kinds) if kind in in_order] == in_order
    assert (row["end_reason"], row["end_cause"]) == ("hangup", "caller_hung_up")
    assert (row["network"], row["surface"]) == ("127.0.0.0/24", "realtime")
    assert row["turns"] == 1
    assert row["v2v_p50_ms"] == 305
    assert [item["content"] for item in transcript] == [
        "My number is [number], where is my parcel?"
    ]
    assert turns[0]["rtt_ms"] == 12
    assert {m["direction"]: m["packets"] for m in media} == {"from_caller": 5, "to_caller": 5}
    # The item that was too large is missing, and the record says so.
    assert source["events"] == len(events) == source["last_number"] - 1
    assert row["holes"] == 1
    backends = [event for event in events if event.origin == pb.ORIGIN_BACKEND]
    assert {event.WhichOneof("body") for event in backends} == {"item", "turn"}
    whole = await asyncio.to_thread(everything_in, tmp_path)
    assert not [secret for secret in (*SECRETS, stack.api_key) if secret.encode() in whole]
    store.close()
