"""Which backend a call gets, and what one backend's trouble does to calls of another."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import grpc.aio
import pytest

from backends.echo import echo
from tests.backends.kit import linked, open_call, serving, soon
from tests.transceiver.links import as_link, backend
from transceiver.link.backend_list import BackendAddress
from transceiver.link.backends import Backend, Backends, ShownBackend, UnknownBackend, wishes
from transceiver.link.breaker import ENOUGH_FAILURES, FIRST_PAUSE_S
from transceiver.link.errors import BackendAbsent, CallLimit
from trunkline.backend import BackendServer
from trunkline.process.address import Address
from trunkline.v1 import model_pb2, model_pb2_grpc


def spread(backends: Backends, calls: int = 100) -> Counter[str]:
    return Counter(first(backends) for _ in range(calls))


def first(backends: Backends, session: str = "") -> str:
    return backends.choices(session)[0].backend.name


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
    named = Backend("lab", as_link("voice"))
    assert Backends([named]).shown == (ShownBackend("lab", "voice", "ready"),)


def test_why_there_is_none() -> None:
    """All away is BackendAbsent and says why of each; one there but full is CallLimit."""
    away, full = backend("a", ready=False), backend("b", calls=1, max_calls=1)
    with pytest.raises(BackendAbsent, match="a: connection lost"):
        Backends([away]).choices("")
    with pytest.raises(CallLimit):
        Backends([away, full]).choices("")


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
    assert first(Backends([backend("echo"), backend("lab", 0)]), session) == chosen


def test_an_unknown_backend_is_refused() -> None:
    """A name nobody has is told to the caller and not quoted."""
    with pytest.raises(UnknownBackend) as refusal:
        Backends([backend("echo")]).choices('{"trunkline": {"backend": "secret"}}')
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("lab", "refusal"),
    [
        (backend("lab", ready=False), BackendAbsent),
        (backend("lab", calls=1, max_calls=1), CallLimit),
    ],
)
def test_a_named_backend_is_not_replaced(lab: Backend, refusal: type[Exception]) -> None:
    """Who asked for a model that is away or full does not get another one."""
    with pytest.raises(refusal):
        Backends([backend("echo"), lab]).choices('{"model": "lab"}')


def test_all_who_may_take_a_call_are_in_order() -> None:
    """Drawn by weight one after another; who did not answer a moment ago comes last."""
    three = [backend("a", 1), backend("b", 2), backend("c", 1)]
    draws = [0.0, 0.3]  # of b and c, then of all three
    backends = Backends(three, draws.pop, lambda: 10.0)
    assert [choice.backend.name for choice in backends.choices("")] == ["b", "a", "c"]
    three[1].breaker.failed(10.0)
    draws[:] = [0.6]
    assert [choice.backend.name for choice in backends.choices("")] == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("session", "models"),
    [
        ("", [("echo",), ("voice",)]),
        ('{"model": "gpt-realtime"}', [("echo", "gpt-realtime"), ("voice", "gpt-realtime")]),
        ('{"model": "voice"}', [("voice",)]),
        (
            '{"model": "gpt-realtime", "trunkline": {"backend": "voice"}}',
            [("voice", "gpt-realtime")],
        ),
        ('{"model": "echo", "trunkline": {"backend": "voice"}}', [("voice",)]),
    ],
)
def test_a_call_counts_against_its_backend(session: str, models: list[tuple[str, ...]]) -> None:
    """And against the model its session names, unless that is another backend's name."""
    backends = Backends([backend("echo"), backend("voice")], lambda: 0.0)
    assert [choice.models for choice in backends.choices(session)] == models


def test_room_on_its_way_to_be_taken_is_given_to_nobody_else() -> None:
    """A call that waits for the ledger keeps its place with the backend, and no longer."""
    small, large = backend("small", max_calls=1), backend("large")
    backends = Backends([small, large], lambda: 0.0)
    assert first(backends) == "small"
    with small.awaited():
        assert first(backends) == "large"
    assert first(backends) == "small"


def test_one_call_asks_whether_a_backend_answers_again() -> None:
    """Two were given it at the same time: the second is refused and not sent after the first."""
    now_s = 0.0
    lost = backend("lost")
    backends = Backends([lost], now=lambda: now_s)
    for _ in range(ENOUGH_FAILURES):
        assert backends.ask(lost) is lost.link
        lost.breaker.failed(now_s)
    with pytest.raises(BackendAbsent):
        backends.choices("")
    now_s += FIRST_PAUSE_S
    given = [backends.choices("")[0].backend for _ in range(2)]
    assert backends.ask(given[0]) is lost.link
    with pytest.raises(BackendAbsent):
        backends.ask(given[1])


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
            kept, kept_sink = await open_call(steady, "kept")
            _, lost_sink = await open_call(fragile, "lost")
            await leaves.stop()
            await lost_sink.until(lambda: lost_sink.losses == 1)
            assert {choice.backend.link for choice in backends.choices("")} == {steady}
            kept.send_audio(b"still here", 0, 960)
            await kept_sink.until(lambda: kept_sink.audio == [(b"still here", 960)])
            async with BackendServer(echo, Address("127.0.0.1", port)):
                await soon(fragile.until_ready())
                assert first(backends, '{"model": "fragile"}') == "fragile"
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
    model_pb2_grpc.add_ModelBackendServicer_to_server(deaf, server)
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
