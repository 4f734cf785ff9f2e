"""Which backend a call gets, and what one backend's trouble does to calls of another."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, cast

import grpc.aio
import pytest

from backends.echo import echo
from backends.serve import BackendServer
from fleet.address import Address
from tests.backends.kit import linked, open_call, serving, soon
from transceiver.backend_list import BackendAddress
from transceiver.backends import Backend, Backends, ShownBackend, UnknownBackend, wishes
from transceiver.link_counters import LinkCounters
from transceiver.link_errors import BackendAbsent, CallLimit
from transceiver.model_link import ModelLink
from trunkline.v1 import model_pb2, model_pb2_grpc


class Link:
    """A link that is up or down as the test says."""

    def __init__(
        self, name: str, *, ready: bool = True, calls: int = 0, max_calls: int = 0
    ) -> None:
        self.backend = name
        self.ready, self.calls, self.max_calls = ready, calls, max_calls
        self.down_reason = "" if ready else "connection lost"
        self.counters = LinkCounters(link_connects=1)


def backend(name: str, weight: int = 1, **state: object) -> Backend:
    return Backend(name, cast(ModelLink, Link(name, **state)), weight)  # type: ignore[arg-type]


def spread(backends: Backends, calls: int = 100) -> Counter[str]:
    return Counter(backends.choose("").backend for _ in range(calls))


def evenly(calls: int = 100) -> list[float]:
    return [(number + 0.5) / calls for number in range(calls)]


def pool(*members: Backend) -> Backends:
    numbers = evenly()
    return Backends(members, numbers.pop)


def test_calls_are_spread_by_weight() -> None:
    """Three to one means 75 and 25 of a hundred; weight 0 gets none unasked."""
    shares = spread(pool(backend("echo", 3), backend("voice", 1), backend("lab", 0)))
    assert shares == {"echo": 75, "voice": 25}


def test_only_those_with_room_share() -> None:
    """A backend that is away or at its limit gets no share; the others take it."""
    away = backend("away", 10, ready=False)
    full = backend("full", 10, calls=2, max_calls=2)
    assert spread(pool(away, full, backend("here"))) == {"here": 100}


def test_what_a_person_may_choose_from() -> None:
    """Each is shown by name with what it calls itself, and as ready, full or away."""
    full = backend("full", calls=2, max_calls=2)
    listed = pool(backend("here"), full, backend("away", ready=False)).shown
    assert [(one.name, one.state) for one in listed] == [
        ("here", "ready"),
        ("full", "full"),
        ("away", "away"),
    ]
    named = Backend("lab", cast(ModelLink, Link("voice")))
    assert Backends([named]).shown == (ShownBackend("lab", "voice", "ready"),)


def test_why_there_is_none() -> None:
    """All away is BackendAbsent and says why of each; one there but full is CallLimit."""
    away, full = backend("a", ready=False), backend("b", calls=1, max_calls=1)
    with pytest.raises(BackendAbsent, match="a: connection lost"):
        Backends([away]).choose("")
    with pytest.raises(CallLimit):
        Backends([away, full]).choose("")


@pytest.mark.parametrize(
    ("session", "chosen"),
    [
        ('{"trunkline": {"backend": "lab"}}', "lab"),
        ('{"model": "lab"}', "lab"),
        ('{"trunkline": {"backend": "lab"}, "model": "echo"}', "lab"),
        ('{"model": "gpt-realtime"}', "echo"),
        ('{"trunkline": {"backend": ""}}', "echo"),
        ('{"trunkline": "lab", "model": ["lab"]}', "echo"),
        ("[]", "echo"),
        ("no json", "echo"),
        ("", "echo"),
    ],
)
def test_a_session_may_name_its_backend(session: str, chosen: str) -> None:
    """By our own member, or by a model that is a backend's name; other models change nothing."""
    assert Backends([backend("echo"), backend("lab", 0)]).choose(session).backend == chosen


def test_an_unknown_backend_is_refused() -> None:
    """A name nobody has is told to the caller and not quoted."""
    with pytest.raises(UnknownBackend) as refusal:
        Backends([backend("echo")]).choose('{"trunkline": {"backend": "secret"}}')
    assert "secret" not in str(refusal.value)


def test_a_named_backend_that_is_away_is_not_replaced() -> None:
    """Who asked for a model does not get another one; opening on its link says that it is away."""
    chosen = Backends([backend("echo"), backend("lab", ready=False)]).choose('{"model": "lab"}')
    assert chosen.backend == "lab"


def test_a_deep_session_does_no_harm() -> None:
    """JSON nested beyond the parser's depth names nothing."""
    assert wishes('{"model":' + "[" * 100_000) == (None, None)


def test_counters_are_added_up() -> None:
    """Two links that connected once each make two."""
    assert Backends([backend("a"), backend("b")]).counters["link_connects"] == 2


@pytest.mark.parametrize("names", [(), ("a", "a")])
def test_names_are_needed_and_differ(names: tuple[str, ...]) -> None:
    """No backend, or a name twice, is a mistake of ours."""
    with pytest.raises(ValueError, match="each name once"):
        Backends([backend(name) for name in names])


def test_an_address_is_read_and_written() -> None:
    """Name, address and weight, and the same text again."""
    read = BackendAddress.parse("voice=[::1]:9302*3")
    assert read == BackendAddress("voice", Address("::1", 9302), 3)
    assert BackendAddress.parse(str(read)) == read


async def test_a_lost_backend_takes_only_its_own_calls() -> None:
    """One backend goes away and comes back; a call on the other one goes on all the time."""
    async with serving(echo) as stays, linked(stays.port) as steady:
        leaves = BackendServer(echo, Address("127.0.0.1", 0))
        await leaves.start()
        port = leaves.port
        async with linked(port) as fragile:
            backends = Backends([Backend("steady", steady), Backend("fragile", fragile)])
            kept, kept_sink = await open_call(backends.choose('{"model": "steady"}'), "kept")
            _, lost_sink = await open_call(backends.choose('{"model": "fragile"}'), "lost")
            await leaves.stop()
            await lost_sink.until(lambda: lost_sink.losses == 1)
            assert {backends.choose("") for _ in range(20)} == {steady}
            kept.send_audio(b"still here", 0, 960)
            await kept_sink.until(lambda: kept_sink.audio == [(b"still here", 960)])
            async with BackendServer(echo, Address("127.0.0.1", port)):
                await soon(fragile.until_ready())
                assert backends.choose('{"model": "fragile"}') is fragile
            assert kept.open
            assert kept_sink.losses == 0


class Deaf:
    """A backend that greets, takes a call and reads nothing more."""

    def __init__(self) -> None:
        self.over = asyncio.Event()

    async def Connect(self, _requests: Any, context: Any) -> None:  # noqa: N802
        await context.read()
        opus = model_pb2.AUDIO_FORMAT_OPUS
        welcome = model_pb2.Welcome(protocol=1, backend="deaf", accepts=[opus])
        await context.write(model_pb2.ToTransceiver(welcome=welcome))
        await context.read()
        taken = model_pb2.BackendEvent(call=1, accepted=model_pb2.Accepted())
        await context.write(model_pb2.ToTransceiver(events=[taken]))
        await self.over.wait()


async def test_a_stuck_backend_stalls_nobody_else() -> None:
    """A backend that stops reading keeps its own frames waiting; another's echo comes back."""
    deaf, server = Deaf(), grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    model_pb2_grpc.add_ModelBackendServicer_to_server(deaf, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with serving(echo) as second, linked(port) as stuck, linked(second.port) as live:
        quiet, _ = await open_call(stuck)
        talk, sink = await open_call(live)
        for number in range(3000):
            quiet.send_audio(b"x" * 1000, number * 960, 960)
            if number < 40:
                talk.send_audio(b"%d" % number, number * 960, 960)
            await asyncio.sleep(0)
        await sink.until(lambda: len(sink.audio) == 40)
        assert stuck.counters.link_audio_dropped > 0
        assert live.counters.link_audio_dropped == 0
    deaf.over.set()
    await server.stop(None)
