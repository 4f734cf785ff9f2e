"""Calls of a real engine whose backends die: real links, and backends on ports of this machine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from fleet.ending import end
from fleet.limits.call_limits import CallLimits
from fleet.limits.memory_ledger import MemoryLedger
from fleet.limits.rules import LimitRules
from tests.backends.kit import TIMEOUT_S, scripted, soon
from tests.conftest import free_port
from tests.transceiver.caller import OUR_CERTIFICATE, make_offer
from tests.transceiver.engine.test_engine import ROUTE, TOKEN_KEYS, TRUNK_KEYS
from transceiver.call.session import Session
from transceiver.call.states import State
from transceiver.engine.call_tickets import CallTickets
from transceiver.engine.engine import Engine
from transceiver.link.backends import Backend, Backends
from transceiver.link.model_link import ModelLink
from transceiver.link.retry_budget import RetryBudget
from transceiver.restore.policy import MOST_LOSSES
from transceiver.restore.restorer import Restorer
from trunkline.backend import Backend as Served
from trunkline.backend import BackendServer, Call, Text
from trunkline.process.address import Address
from trunkline.v1 import model_pb2

LABEL = "oai-events"


async def notes(call: Call) -> None:
    """Says how much it was told since the call began, with whoever had it."""
    told = int(call.restored.snapshot or b"0") if call.restored else 0
    async for event in call.events():
        if isinstance(event, Text):
            told += 1
            call.remember(b"%d" % told)
            await call.send_text(event.label, f"{told}")


class Desk:
    """An engine, its links to backends by name, and the servers that this test starts and stops."""

    def __init__(self, engine: Engine, names: Iterable[str], within_s: float, rules: str) -> None:
        self.engine = engine
        self.ports = {name: free_port() for name in names}
        self.servers: dict[str, BackendServer] = {}
        self.links = {
            name: ModelLink(f"127.0.0.1:{port}", "tr") for name, port in self.ports.items()
        }
        self.backends = Backends([Backend(name, link) for name, link in self.links.items()])
        self.limits = CallLimits(MemoryLedger(), LimitRules.parse(rules))
        self.tickets = CallTickets(self.limits, engine)
        self.retries = RetryBudget()
        self.restorer = Restorer(engine, self.backends, self.tickets, self.retries, within_s)
        self.heard: dict[str, list[str]] = {}

    async def start(self, name: str, kind: str = "notes", hold_ms: int = 0, **options: int) -> None:
        served = Served(notes, name=kind, **options)  # type: ignore[arg-type]
        address = Address("127.0.0.1", self.ports[name])
        server = BackendServer(served, address, hold_ms=hold_ms)
        await server.start()
        self.servers[name] = server
        await soon(self.links[name].until_ready())

    async def kill(self, name: str) -> None:
        """Stop it; its calls know when this returns."""
        await self.servers.pop(name).stop()
        await self.until(lambda: not self.links[name].ready)

    async def call(self, name: str, session_json: str = "") -> Session:
        """A call that the backend of that name has taken."""
        link = self.backends.ask(next(b for b in self.all if b.name == name))
        session = self.engine.create_call(make_offer(), "whip", session_json, link)
        await session.accepted(TIMEOUT_S)
        session.sidebands.join(Ear(self.heard.setdefault(session.call_id, [])))
        return session

    @property
    def all(self) -> list[Backend]:
        return [choice.backend for choice in self.backends.choices("")]

    async def ask(self, session: Session) -> str:
        """Say something, and get the answer."""
        heard = self.heard[session.call_id]
        count = len(heard)
        session.hear_sideband("{}", from_server=True)
        await self.until(lambda: any(text.isdigit() for text in heard[count:]))
        return heard[-1]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while not condition():
                await asyncio.sleep(0.005)


class Ear:
    """A side band that remembers."""

    def __init__(self, heard: list[str]) -> None:
        self._heard = heard

    def hear(self, text: str) -> None:
        self._heard.append(text)

    def call_ended(self) -> None:
        self._heard.append("ended")


@asynccontextmanager
async def desk(
    *names: str, within_s: float = 10.0, rules: str = "", max_calls: int = 100
) -> AsyncIterator[Desk]:
    engine = Engine(TOKEN_KEYS, TRUNK_KEYS, ROUTE, OUR_CERTIFICATE, max_calls=max_calls)
    made = Desk(engine, names, within_s, rules)
    async with AsyncExitStack() as stack:
        tasks = [asyncio.create_task(link.run()) for link in made.links.values()]
        tasks.append(asyncio.create_task(made.limits.run()))
        stack.push_async_callback(end, tasks)
        for link in made.links.values():
            stack.push_async_callback(link.close)
        stack.push_async_callback(engine.close)
        stack.push_async_callback(made.restorer.close)
        try:
            yield made
        finally:
            for server in made.servers.values():
                await server.stop()


async def test_the_same_backend_after_its_restart() -> None:
    """The call is there, and what was said before is known."""
    async with desk("only") as at:
        await at.start("only")
        session = await at.call("only")
        assert [await at.ask(session) for _ in range(2)] == ["1", "2"]
        await at.kill("only")
        assert at.restorer.searching == 1
        await at.start("only")
        assert await at.ask(session) == "3"
        assert session.state is not State.ENDED and at.restorer.searching == 0
        assert at.engine.counters["call_backend_restored"] == 1


async def test_what_was_said_meanwhile_is_heard_afterwards() -> None:
    """A message between two backends gets its answer from the second."""
    async with desk("only") as at:
        await at.start("only")
        session = await at.call("only")
        await at.ask(session)
        await at.kill("only")
        session.hear_sideband("{}", from_server=True)
        await at.start("only")
        await at.until(lambda: at.heard[session.call_id][-1] == "2")
        events = [json.loads(t) for t in at.heard[session.call_id] if t.startswith("{")]
        assert [event["type"] for event in events] == ["trunkline.backend_restored"]


async def test_a_stream_that_breaks_while_its_backend_lives() -> None:
    """It holds the call, so the call goes on there as it was, and nothing is restored."""
    async with desk("only") as at:
        await at.start("only", hold_ms=5000)
        session = await at.call("only")
        assert await at.ask(session) == "1"
        (call,) = at.servers["only"].calls
        stream = at.links["only"]._stream
        assert stream is not None
        stream._rpc.cancel()
        await at.until(lambda: session.handle is None)
        session.hear_sideband("{}", from_server=True)
        await at.until(lambda: at.heard[session.call_id][-1] == "2")
        assert list(at.servers["only"].calls) == [call] and call.restored is None
        assert await at.ask(session) == "3"


async def test_a_backend_that_started_again_and_holds_calls() -> None:
    """It is asked whether it still knows the call; it does not, and gets the conversation."""
    async with desk("only") as at:
        await at.start("only", hold_ms=5000)
        session = await at.call("only")
        assert await at.ask(session) == "1"
        await at.kill("only")
        await at.start("only", hold_ms=5000)
        assert await at.ask(session) == "2"
        (call,) = at.servers["only"].calls
        assert call.restored is not None and call.restored.snapshot == b"1"


async def test_another_of_its_kind() -> None:
    """When the lost one does not come back, one that calls itself the same goes on."""
    async with desk("first", "second", "stranger") as at:
        await at.start("first")
        await at.start("second")
        await at.start("stranger", kind="something else")
        session = await at.call("first")
        await at.ask(session)
        await at.kill("first")
        assert await at.ask(session) == "2"
        assert session.line.link is at.links["second"]


@pytest.mark.parametrize("asked", ['{"trunkline": {"backend": "first"}}', '{"model": "first"}'])
async def test_who_asked_for_a_backend_gets_no_other(asked: str) -> None:
    """It waits for that one, and for that one only."""
    async with desk("first", "second") as at:
        await at.start("first")
        await at.start("second")
        session = await at.call("first", asked)
        await at.kill("first")
        assert at.backends.successors(at.backends.of(at.links["first"]), asked, 1) == []  # type: ignore[arg-type]
        await at.start("first")
        assert await at.ask(session) == "1"
        assert session.line.link is at.links["first"]


async def test_nobody_comes() -> None:
    """The call ends as it did before there was anybody to ask, when its time is over."""
    async with desk("only", within_s=0.3) as at:
        await at.start("only")
        session = await at.call("only")
        await at.kill("only")
        await at.until(lambda: session.state is State.ENDED)
        assert session.end_reason == "failed"
        assert at.engine.counters["call_backend_not_restored"] == 1
        assert "backend_lost" in str(at.heard[session.call_id])


async def test_a_backend_that_dies_again_and_again() -> None:
    """Five times in a minute the call comes back; then it is given up."""
    async with desk("only") as at:
        await at.start("only")
        session = await at.call("only")
        for number in range(1, MOST_LOSSES + 1):
            assert await at.ask(session) == str(number)
            await at.kill("only")
            await at.start("only")
        await at.ask(session)
        await at.kill("only")
        await at.until(lambda: session.state is State.ENDED)
        assert at.engine.counters["call_backend_lost"] == MOST_LOSSES + 1
        assert at.engine.counters["call_backend_restored"] == MOST_LOSSES
        assert session.end_reason == "failed"


async def test_the_limits_place_moves() -> None:
    """The call counts against the backend that has it, and the lost one's place is free."""
    rules = "model/first: calls=1; model/second: calls=1"
    async with desk("first", "second", rules=rules) as at:
        await at.start("first")
        await at.start("second")
        with at.tickets.ticket("key") as ticket:
            choice = next(c for c in at.backends.choices("") if c.backend.name == "first")
            await at.tickets.admit(ticket, [choice])
            session = await at.call("first")
            at.tickets.bind(ticket, session.call_id)
        await at.kill("first")
        assert await at.ask(session) == "1"
        assert ticket.subjects == ("key/key", "model/second")
        await at.limits._settle(renew=True)
        usage = {one.subject: one.calls for one in await at.limits.usage()}
        assert (usage.get("model/first", 0), usage["model/second"]) == (0, 1)


async def test_a_backend_without_room_is_waited_for_and_not_asked() -> None:
    """Two lost calls, one place: the second comes in when the place is free, without a retry."""
    async with desk("first", "second") as at:
        await at.start("first")
        await at.start("second", max_calls=1)
        sessions = [await at.call("first") for _ in range(2)]
        await at.kill("first")
        await at.until(lambda: at.restorer.searching == 1 and any(s.handle for s in sessions))
        lucky, waiting = sorted(sessions, key=lambda session: session.handle is None)
        at.engine.end(lucky.call_id, "hangup")
        assert await at.ask(waiting) == "1"


async def test_many_calls_at_once_each_get_one_question() -> None:
    """All of a backend's calls come back, and none is asked for twice."""
    async with desk("only") as at:
        await at.start("only")
        sessions = [await at.call("only") for _ in range(80)]
        for session in sessions:
            await at.ask(session)
        await at.kill("only")
        await at.until(lambda: at.restorer.searching == len(sessions))
        await at.start("only")
        answers = await asyncio.gather(*map(at.ask, sessions))
        assert set(answers) == {"2"}
        assert len(at.servers["only"].calls) == len(sessions)


async def test_a_call_that_ends_while_it_waits() -> None:
    """Nobody looks for a backend for it any more."""
    async with desk("only") as at:
        await at.start("only")
        session = await at.call("only")
        await at.kill("only")
        await at.until(lambda: at.restorer.searching)
        at.engine.end(session.call_id, "client_closed")
        await at.until(lambda: not at.restorer.searching)
        assert at.engine.counters["call_backend_not_restored"] == 0


async def test_a_backend_that_says_nothing_is_asked_once() -> None:
    """Its breaker and the retry budget hold: a call without a retry to spend waits, and ends."""
    async with desk("mute", within_s=1.0) as at, scripted() as mute:
        at.ports["mute"] = mute.port
        link = at.links["mute"] = ModelLink(f"127.0.0.1:{mute.port}", "tr")
        backend = Backend("mute", link)
        at.backends._by_name["mute"] = backend
        link.on_ready = at.restorer._news.set
        task = asyncio.create_task(link.run())
        try:
            await soon(link.until_ready())
            session = at.engine.create_call(make_offer(), "whip", "", link)
            await mute.until(lambda: "started" in mute.kinds())
            await mute.say(model_pb2.BackendEvent(call=1, accepted=model_pb2.Accepted()))
            await session.accepted(TIMEOUT_S)
            session.on_backend_lost()
            await at.until(lambda: session.state is State.ENDED)
            assert mute.kinds().count("started") == 2
        finally:
            await link.close()
            await end([task])


async def test_a_backend_that_does_not_know_a_call_is_given_its_conversation() -> None:
    """`unknown` is answered to whoever wanted to resume there; it is restored instead."""
    async with scripted() as backend:
        engine = Engine(TOKEN_KEYS, TRUNK_KEYS, ROUTE, OUR_CERTIFICATE)
        link = ModelLink(f"127.0.0.1:{backend.port}", "tr")
        tickets = CallTickets(CallLimits(MemoryLedger(), LimitRules()), engine)
        backends = Backends([Backend("only", link)])
        restorer = Restorer(engine, backends, tickets, RetryBudget(), 10.0)
        task = asyncio.create_task(link.run())
        try:
            await soon(link.until_ready())
            session = engine.create_call(make_offer(), "whip", "", link)
            session.line.taken, session.line.remembered = True, b"kept"
            await backend.until(lambda: len(backend.heard) == 1)
            refused = model_pb2.Refused(reason="unknown call", unknown=True)
            await backend.say(model_pb2.BackendEvent(call=1, refused=refused))
            await backend.until(lambda: backend.kinds().count("started") == 2)
            assert backend.heard[-1].started.restored.snapshot == b"kept"
            await backend.say(model_pb2.BackendEvent(call=2, accepted=model_pb2.Accepted()))
            async with asyncio.timeout(TIMEOUT_S):
                while session.handle is None:
                    await asyncio.sleep(0.005)
            assert session.handle.number == 2
        finally:
            await restorer.close()
            await engine.close()
            await link.close()
            await end([task])
