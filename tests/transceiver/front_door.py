"""The HTTP application on a free port, with an engine that has no media behind it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientResponse, ClientSession, ClientWebSocketResponse

from fleet.api_key import ApiKey
from fleet.ending import end
from fleet.limits.call_limits import CallLimits
from fleet.limits.memory_ledger import MemoryLedger
from fleet.limits.rules import LimitRules
from tests.transceiver.links import backend
from transceiver.call.offer import Offer
from transceiver.call.principal import NOBODY, Principal
from transceiver.call.sidebands import Sidebands
from transceiver.call.snapshot import CallSnapshot
from transceiver.engine.call_tickets import CallTickets
from transceiver.engine.refusals import EngineRefusal
from transceiver.link.backends import Backends
from transceiver.link.errors import CallLimit
from transceiver.link.model_link import ModelLink
from transceiver.pod.neighbours import Neighbours
from transceiver.signaling.access import ApiKeys
from transceiver.signaling.app import Status, make_app
from transceiver.signaling.console_page import ConsolePage
from transceiver.signaling.http_listener import HttpListener, listen
from transceiver.signaling.intake import Intake
from transceiver.takeover.session_state import Places
from trunkline.process.address import Address
from wire.keys import KeyRing

KEY = "key-one"
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}
FINGERPRINT = ":".join(["AB"] * 32)
RELAYS = (Address("203.0.113.10", 3478), Address("2001:db8::1", 3478))


RING = KeyRing(1, {1: bytes(range(32))})


class FakeSession:
    """A call that holds its credentials and does nothing."""

    def __init__(
        self,
        number: int,
        offer: Offer,
        surface: str,
        link: ModelLink,
        placed_by: Principal = NOBODY,
        refusal: Exception | None = None,
    ) -> None:
        self.call_id = f"rtc_{number}"
        self.offer = offer
        self.surface = surface
        self.placed_by = placed_by
        self.link: Any = link
        self.restarts = 0
        self.end_reason = ""
        self.held = False
        self.sidebands_of_servers = 0
        self.places: Places | None = None
        self.sidebands = Sidebands()
        self.from_sidebands: asyncio.Queue[str] = asyncio.Queue()
        self.local_ufrag = f"ufrag{number}x0"
        self.local_password = f"password{number}x0" + "p" * 20
        self.ssrc = 1000 + number
        self.cname = self.call_id
        self.started_unix_ms = 1_700_000_000_000 + number // 2
        self._refusal = refusal

    def hear_sideband(self, text: str, *, from_server: bool) -> None:
        """Keep it for the test."""
        self.sidebands_of_servers += from_server
        self.from_sidebands.put_nowait(text)

    async def accepted(self, timeout_s: float) -> None:
        """Taken, or refused as told."""
        assert timeout_s > 0
        if self._refusal:
            raise self._refusal

    def restart_ice(self, remote_ufrag: str, remote_password: str) -> tuple[str, str]:
        """The next pair."""
        assert remote_ufrag
        assert remote_password
        self.restarts += 1
        self.local_ufrag = self.local_ufrag[:-1] + str(self.restarts)
        self.local_password = self.local_password[:-1] + str(self.restarts)
        return self.local_ufrag, self.local_password

    def snapshot(self) -> CallSnapshot:
        """Some values in every field."""
        return CallSnapshot(
            self.call_id, "new", self.started_unix_ms, "echo", self.surface, 1, 2, 3, 4.5, 6.5, 7,
            8, 9, "203.0.113.0/24",
        )  # fmt: skip


class FakeEngine:
    """The engine's interface over a dictionary. `full` and `refusal` make it say no.

    Its calls count on their links, and one that is full takes no more.
    """

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self.full: Exception | None = None
        self.places = 10_000
        self.http_counters: Counter[str] = Counter()
        self._ended_listeners: list[Callable[[str], None]] = []
        self._connected_listeners: list[Callable[[str], None]] = []
        self.refusal: Exception | None = None
        self.refusals: list[Exception] = []  # of the next calls, last first
        self.session_jsons: list[str] = []
        self.ended: list[tuple[str, str]] = []
        self._live: dict[str, FakeSession] = {}
        self._made = 0
        self.new_id: Callable[[int], str] = "rtc_{}".format

    def check_room(self) -> None:
        """Room, unless `full` says otherwise."""
        if isinstance(self.full, EngineRefusal):
            raise self.full

    @property
    def free_places(self) -> int:
        """Of `places`, those without a call."""
        return self.places - len(self._live)

    def listen_connected(self, listener: Callable[[str], None]) -> None:
        """Tell `listener` of calls that `connect` connects."""
        self._connected_listeners.append(listener)

    def connect(self, call_id: str) -> None:
        """The caller is there."""
        for tell in self._connected_listeners:
            tell(call_id)

    def listen_moved(self, here: Callable[[str], None], away: Callable[[str], None]) -> None:
        """Nothing moves here."""

    def listen_ended(self, listener: Callable[[str], None]) -> None:
        """Tell `listener` of ended calls."""
        self._ended_listeners.append(listener)

    def create_call(
        self,
        offer: Offer,
        surface: str,
        session_json: str,
        link: ModelLink,
        placed_by: Principal = NOBODY,
    ) -> FakeSession:
        """A new call, or the refusal of `full` or of the link."""
        if self.full:
            raise self.full
        if link.max_calls and link.calls >= link.max_calls:
            raise CallLimit("full")
        self._made += 1
        refusal = self.refusals.pop() if self.refusals else self.refusal
        session = FakeSession(self._made, offer, surface, link, placed_by, refusal)
        session.link.calls += 1
        session.call_id = self.new_id(self._made)
        self.session_jsons.append(session_json)
        self._live[session.call_id] = session
        return session

    def find(self, call_id: str) -> FakeSession | None:
        """The live call."""
        return self._live.get(call_id)

    def end(self, call_id: str, reason: str) -> bool:
        """End it and note why."""
        session = self._live.pop(call_id, None)
        if session is None:
            return False
        session.sidebands.end()
        session.link.calls -= 1
        self.ended.append((call_id, reason))
        for tell in self._ended_listeners:
            tell(call_id)
        return True

    dismiss = end

    def calls(self) -> list[FakeSession]:
        """Live calls, oldest first."""
        return list(self._live.values())

    def snapshots(self) -> list[CallSnapshot]:
        """What the operator sees of them."""
        return [session.snapshot() for session in self.calls()]

    def snapshot(self, call_id: str) -> CallSnapshot | None:
        """What the operator sees of one."""
        session = self._live.get(call_id)
        return session and session.snapshot()  # type: ignore[return-value]


class FrontDoor:
    """A running application and a client of it; paths are relative to it."""

    def __init__(self, engine: FakeEngine, listener: HttpListener, client: ClientSession) -> None:
        self.engine = engine
        self.listener = listener
        self.port = listener.port
        self.ready = True
        self._client = client

    async def ask(self, method: str, path: str, **options: Any) -> ClientResponse:
        """One request, its response read to the end; sends the good key unless told otherwise."""
        options.setdefault("headers", {})
        options["headers"] = {
            name: value
            for name, value in {**AUTHORIZED, **options["headers"]}.items()
            if value is not None
        }
        url = f"http://127.0.0.1:{self.port}{path}"
        async with self._client.request(method, url, **options) as response:
            await response.read()
            return response

    async def connect(self, path: str, **options: Any) -> ClientWebSocketResponse:
        """A WebSocket, with the good key unless told otherwise; to be closed by the caller."""
        options.setdefault("headers", AUTHORIZED)
        return await self._client.ws_connect(f"http://127.0.0.1:{self.port}{path}", **options)

    async def post_sdp(self, path: str, sdp: str | bytes, **headers: str) -> ClientResponse:
        """POST an offer."""
        return await self.ask(
            "POST", path, data=sdp, headers={"Content-Type": "application/sdp", **headers}
        )


@asynccontextmanager
async def front_door(
    *,
    keys: Sequence[str] = (KEY, "key-two"),
    origins: Sequence[str] = ("*",),
    console: ConsolePage | None = None,
    limits: LimitRules | None = None,
    backends: Backends | None = None,
    body_timeout_s: float = 10.0,
    idle_timeout_s: float = 20.0,
    max_connections: int = 100,
    ring: KeyRing = RING,
    neighbours: Callable[[FakeEngine], Neighbours] | None = None,
) -> AsyncIterator[FrontDoor]:
    """An application on a free loopback port, closed at the end."""
    engine = FakeEngine()
    door: list[FrontDoor] = []
    status = Status(
        ready=lambda: door[0].ready,
        counters=lambda: engine.counters,
        gauges=lambda: {"calls": len(engine.calls())},
    )
    call_limits = CallLimits(MemoryLedger(), limits or LimitRules())
    worker = asyncio.create_task(call_limits.run())
    tickets = CallTickets(call_limits, engine)
    choices = backends or Backends([backend("default")])
    app = make_app(
        Intake(engine, FINGERPRINT, RELAYS, choices, tickets),
        ApiKeys([ApiKey.parse(key) for key in keys]),
        lambda: ring,
        status,
        cors_origins=origins,
        console=console,
        body_timeout_s=body_timeout_s,
        neighbours=neighbours(engine) if neighbours else None,
        http_counters=engine.http_counters,
    )
    listener = await listen(
        app,
        Address("127.0.0.1", 0),
        idle_timeout_s=idle_timeout_s,
        max_connections=max_connections,
        counters=engine.http_counters,
    )
    try:
        async with ClientSession() as client:
            door.append(FrontDoor(engine, listener, client))
            yield door[0]
    finally:
        await listener.close()
        await end([worker])


async def problem(response: ClientResponse) -> dict[str, Any]:
    """The problem in a response, checked to be one and to fit the status."""
    assert response.content_type == "application/problem+json"
    members: dict[str, Any] = json.loads(await response.text())
    assert members["status"] == response.status
    assert members["type"] == f"urn:trunkline:problem:{members['code']}"
    assert members["title"]
    assert members["detail"]
    return members
