"""Some transceivers in one process: real engines, sockets and HTTP, one relay, one backend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from fleet.api_key import ApiKey
from fleet.directory.directory import Load, Node
from fleet.ending import end
from fleet.limits.call_limits import CallLimits, Ticket
from fleet.limits.memory_ledger import MemoryLedger
from fleet.limits.rules import LimitRules
from fleet.seal import Seal
from tests.transceiver.caller import (
    HOME,
    OUR_CERTIFICATE,
    Caller,
    FakeHandle,
    FakeLink,
    make_offer,
)
from tests.transceiver.engine.test_engine import TOKEN_KEYS, TRUNK_KEYS, Relay, converse
from tests.transceiver.front_door import FINGERPRINT, KEY, RELAYS
from transceiver.call.principal import Principal
from transceiver.call.session import Session
from transceiver.engine.call_tickets import CallTickets
from transceiver.engine.engine import Engine
from transceiver.link.backends import Backend, Backends
from transceiver.link.call_handle import CallHandle, CallSink
from transceiver.link.errors import BackendAbsent
from transceiver.moves.moves import Moves
from transceiver.pod.neighbours import Neighbours
from transceiver.pod.owners import Owners
from transceiver.pod.pod_place import ALONE
from transceiver.pod.proof import PURPOSE, Proofs
from transceiver.signaling.access import ApiKeys
from transceiver.signaling.app import Status, make_app
from transceiver.signaling.http_listener import HttpListener, listen
from transceiver.signaling.intake import Intake
from transceiver.takeover.held_events import HeldEvents
from trunkline.process.address import Address
from wire.token import Route

LOOPBACK = Address("127.0.0.1", 0)
CLUSTER = 3
EVENTS = "oai-events"
OWNER = Principal(ApiKey.parse(KEY).tenant, ApiKey.parse(KEY).id)


class Handle(FakeHandle):
    """A call at the backend by way of one owner. What an owner did not take in is said again."""

    def __init__(self, sink: CallSink, conversation: Conversation) -> None:
        super().__init__(sink, echo=False)
        self.conversation = conversation

    def send_audio(self, payload: bytes, rtp_time: int, duration: int, lost: int = 0) -> None:
        self.conversation.heard.append(payload)

    def send_text(self, label: str, text: str, *, from_server: bool = False) -> None:
        self.conversation.told.append(text)

    def heard_by(self, sink: CallSink) -> None:
        self.sink = sink
        if not isinstance(sink, HeldEvents):  # it goes on there, and has what it held
            self.conversation.untaken.clear()


@dataclass
class Conversation:
    """The backend's side of one call, whoever owns it."""

    handle: Handle | None = None
    heard: list[bytes] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    untaken: list[tuple[str, str | bytes]] = field(default_factory=list)
    owners: int = 0
    opening: bool = False

    def taken_by(self, sink: CallSink) -> Handle:
        """Another owner goes on."""
        self.handle, self.owners = Handle(sink, self), self.owners + 1
        self.opening = True
        asyncio.get_running_loop().call_soon(self._opened)
        return self.handle

    def say(self, label: str, content: str | bytes) -> None:
        """A message, or with no label a frame of sound."""
        assert self.handle is not None
        sink = self.handle.sink
        if self.opening or isinstance(sink, HeldEvents):
            self.untaken.append((label, content))
        if self.opening:
            return
        if label:
            sink.on_data(label, content)
        else:
            sink.on_audio(cast(bytes, content), 960)

    def _opened(self) -> None:
        self.opening = False
        untaken, self.untaken = self.untaken, []
        for label, content in untaken:
            self.say(label, content)


class Link(FakeLink):
    """A link of one transceiver to the one backend of all."""

    conversations: dict[str, Conversation]

    def open_call(  # type: ignore[override]
        self, call_id: str, _json: str, sink: CallSink, *_a: Any, **_o: Any
    ) -> CallHandle:
        if not self.ready:
            raise BackendAbsent("no backend")
        conversation = self.conversations.setdefault(call_id, Conversation())
        return cast(CallHandle, conversation.taken_by(sink))


class Transceiver:
    """One of them."""

    def __init__(self, fleet: Fleet, index: int) -> None:
        self.index = index
        self.engine = Engine(TOKEN_KEYS, TRUNK_KEYS, Route(CLUSTER, index, 1), OUR_CERTIFICATE)
        self.draining = False
        self.link = Link()
        self.link.conversations = fleet.conversations
        self.limits = CallLimits(fleet.ledger, LimitRules.parse("key/*: calls=100"))
        self.tickets = CallTickets(self.limits, self.engine)
        self.backends = Backends([Backend("default", self.link.as_link())])
        self.proofs = Proofs(Seal(lambda: TOKEN_KEYS, PURPOSE, CLUSTER))
        self.owners = Owners(ALONE, None, fleet.nodes)
        self.neighbours = Neighbours(ALONE, self.holds, self.proofs, self.owners)
        self.moves = Moves(
            *(self.engine, self.backends, self.neighbours),
            keys=lambda: TOKEN_KEYS,
            cluster=CLUSTER,
            own_http=None,
            nodes=fleet.nodes,
            drains=lambda: self.draining,
        )
        self.listener: HttpListener | None = None

    def holds(self, call_id: str) -> bool:
        return self.engine.find(call_id) is not None

    async def start(self, stack: AsyncExitStack) -> None:
        self.trunk = await self.engine.start(LOOPBACK)
        stack.push_async_callback(self.engine.close)
        worker = asyncio.create_task(self.limits.run())
        stack.push_async_callback(end, [worker])
        stack.push_async_callback(self.neighbours.close)
        app = make_app(
            Intake(self.engine, FINGERPRINT, RELAYS, self.backends, self.tickets),
            ApiKeys([ApiKey.parse(KEY)]),
            lambda: TOKEN_KEYS,
            Status(lambda: True, lambda: self.engine.counters, dict),
            neighbours=self.neighbours,
            for_processes=self.moves.routes(),
        )
        self.listener = await listen(app, LOOPBACK)
        self.port = self.listener.port
        self.owners.own_http = Address("127.0.0.1", self.port)
        stack.push_async_callback(self.listener.close)
        stack.push_async_callback(self.moves.close)

    @property
    def node(self) -> Node:
        """As the directory has it."""
        load = Load(len(self.engine.calls()), self.engine.max_calls)
        http = Address("127.0.0.1", self.port)
        return Node(
            *(self.index, 1, self.trunk, f"t{self.index}"),
            draining=self.draining,
            load=load,
            http=http,
        )


class Fleet:
    """All of them, and a relay that follows claims."""

    def __init__(self) -> None:
        self.ledger = MemoryLedger()
        self.conversations: dict[str, Conversation] = {}
        self.all: list[Transceiver] = []
        self.relay: Relay

    async def nodes(self) -> list[Node]:
        return [transceiver.node for transceiver in self.all]

    def owner_of(self, call_id: str) -> Transceiver:
        """The one that has a call."""
        [found] = [one for one in self.all if one.engine.find(call_id) is not None]
        return found

    async def call(self) -> Line:
        """A connected caller, on the first transceiver."""
        first = self.all[0]
        ticket = Ticket(OWNER.key_id)
        await first.limits.admit(ticket, [("default",)])
        session = first.engine.create_call(make_offer(), "whip", "", first.link.as_link(), OWNER)
        first.tickets.bind(ticket, session.call_id)
        now = asyncio.get_running_loop().time()
        caller = Caller(session.offer, session.local_ufrag, session.local_password, now)
        caller.check()
        line = Line(self, session.call_id, caller)
        await line.until(lambda: EVENTS in caller.opened)
        return line


@dataclass
class Line:
    """A caller and the backend's side of the call."""

    fleet: Fleet
    call_id: str
    caller: Caller

    @property
    def conversation(self) -> Conversation:
        return self.fleet.conversations[self.call_id]

    @property
    def owner(self) -> Transceiver:
        return self.fleet.owner_of(self.call_id)

    @property
    def session(self) -> Session:
        session = self.owner.engine.find(self.call_id)
        assert session is not None
        return session

    async def until(self, done: Callable[[], bool]) -> None:
        await converse(self.fleet.relay, self.caller, done)

    async def talk(self) -> None:
        """A frame and a message each way arrive."""
        heard, told = len(self.conversation.heard), len(self.conversation.told)
        mine, read = len(self.caller.heard), len(self.caller.messages)
        self.caller.say()
        assert self.caller.channels is not None
        self.caller.channels.send(EVENTS, f"up {told}")
        self.conversation.say("", b"\xf8down")
        self.conversation.say(EVENTS, f"down {read}")
        await self.until(
            lambda: (
                len(self.conversation.heard) > heard
                and len(self.conversation.told) > told
                and len(self.caller.heard) > mine
                and len(self.caller.messages) > read
            )
        )

    def address(self) -> bytes:
        return HOME


@asynccontextmanager
async def fleet(size: int = 2) -> AsyncIterator[Fleet]:
    """So many transceivers, on loopback; their directory is always up to date."""
    made = Fleet()
    async with AsyncExitStack() as stack:
        for index in range(1, size + 1):
            transceiver = Transceiver(made, index)
            await transceiver.start(stack)
            made.all.append(transceiver)
        made.relay = Relay(made.all[0].trunk)
        stack.callback(made.relay.socket.close)
        made.relay.nodes = {
            one.index << 16 | 1: (one.trunk.host, one.trunk.port) for one in made.all
        }
        yield made
