"""A live call moves between processes; its caller, its backend and its limits notice nothing."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from aiohttp import ClientSession, web

from fleet.directory.directory import Node
from fleet.errors import StoreUnavailable
from tests.transceiver.caller import make_offer
from tests.transceiver.front_door import AUTHORIZED
from tests.transceiver.moves.fleet import EVENTS, Fleet, Line, fleet
from transceiver.moves import arrivals, outgoing
from transceiver.moves.envelope import Envelope, TooLarge, Unreadable
from transceiver.moves.moves import NoTarget
from transceiver.moves.outgoing import Outcome
from transceiver.pod.posts import Place, Unreachable


@pytest.fixture
async def two() -> AsyncIterator[Fleet]:
    async with fleet(2) as made:
        yield made


async def move(line: Line, target: int) -> Outcome:
    """Move the call, with its caller talking meanwhile."""
    moving = asyncio.ensure_future(
        line.owner.moves._outgoing.move(line.call_id, line.fleet.all[target].node)
    )
    await line.until(moving.done)
    return moving.result()


async def test_a_call_moves_and_goes_on(two: Fleet) -> None:
    """Sound, messages, whose it is, and its places in the limits go along; no counter repeats."""
    line = await two.call()
    await line.talk()
    assert await move(line, 1) is Outcome.MOVED
    assert line.owner is two.all[1]
    assert two.all[0].engine.calls() == []
    await line.talk()
    assert two.all[0].engine.counters["move_moved"] == 1
    assert two.all[1].engine.counters["move_taken_in"] == 1
    assert two.all[1].engine.counters["srtp_replay"] == 0
    [used] = [u for u in await two.ledger.usage() if u.subject.startswith("key/")]
    assert used.calls == 1
    assert two.all[0].limits.live == 0
    assert two.all[1].limits.live == 1
    two.all[1].engine.end(line.call_id, "hangup")
    await line.until(lambda: line.caller.closed)
    assert two.all[1].limits.live == 0


class Streams:
    """Counted messages and numbered frames both ways, without a pause."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.said = Counter[str]()
        self.heard_at_s: list[float] = []
        self._heard = 0

    async def run(self, until: asyncio.Future[Any]) -> None:
        """A frame each way each 20 ms, with a message beside it, until that is done."""
        while not until.done():
            self.turn()
            await asyncio.sleep(0.02)

    def turn(self) -> None:
        """One of everything."""
        line = self.line
        line.caller.say(b"\xf8" + self.said["frames"].to_bytes(4))
        assert line.caller.channels is not None
        line.caller.channels.send(EVENTS, f"up {self.said['frames']}")
        line.conversation.say(EVENTS, f"down {self.said['frames']}")
        line.conversation.say("", b"\xf8" + self.said["frames"].to_bytes(4))
        self.said["frames"] += 1

    def note(self) -> bool:
        """When the caller heard something; for `Line.until`, which never ends by it."""
        if len(self.line.caller.heard) > self._heard:
            self._heard = len(self.line.caller.heard)
            self.heard_at_s.append(asyncio.get_running_loop().time())
        return False

    def wanted(self, way: str) -> list[str]:
        return [f"{way} {number}" for number in range(self.said["frames"])]

    @property
    def gaps_ms(self) -> list[float]:
        pairs = zip(self.heard_at_s, self.heard_at_s[1:], strict=False)
        return sorted((after - before) * 1000 for before, after in pairs)


MOVES = 100


async def test_hundreds_of_messages_over_a_hundred_moves(two: Fleet) -> None:
    """None is lost, none comes twice, and all come in order, both ways; sound has its numbers."""
    line = await two.call()
    streams = Streams(line)

    async def move_often() -> None:
        for number in range(MOVES):
            target = two.all[1 - number % 2].node
            outcome = await line.owner.moves._outgoing.move(line.call_id, target)
            assert outcome is Outcome.MOVED
            await asyncio.sleep(0.03)

    moving = asyncio.ensure_future(move_often())
    talking = asyncio.ensure_future(streams.run(moving))
    await line.until(lambda: streams.note() or talking.done())
    moving.result()
    total = streams.said["frames"]
    await line.until(
        lambda: len(line.conversation.told) >= total and len(line.caller.messages) >= total
    )
    assert line.conversation.told == streams.wanted("up")
    assert [text for _, text in line.caller.messages] == streams.wanted("down")
    numbers = [int.from_bytes(payload[1:]) for payload in line.conversation.heard]
    assert numbers == sorted(set(numbers))
    assert len(numbers) >= total - 2
    sequences = [packet.sequence for packet in line.caller.heard]
    assert len(set(sequences)) == len(sequences)
    for transceiver in two.all:
        assert transceiver.engine.counters["srtp_replay"] == 0
        assert transceiver.engine.counters["dtls_replay"] == 0
    assert line.conversation.owners == MOVES + 1
    gaps = streams.gaps_ms
    quantiles = [gaps[int(len(gaps) * share)] for share in (0.5, 0.9, 0.99)]
    print(  # noqa: T201 - the figure, for whoever runs it with -s
        f"{MOVES} moves; between frames at the ear: p50 {quantiles[0]:.0f} ms, p90 "
        f"{quantiles[1]:.0f} ms, p99 {quantiles[2]:.0f} ms, longest {gaps[-1]:.0f} ms"
    )


async def test_a_target_without_room_refuses(two: Fleet) -> None:
    """Full or draining: the call stays, and its place is nobody else's."""
    line = await two.call()
    two.all[1].engine.max_calls = 0
    assert await move(line, 1) is Outcome.REFUSED_NO_ROOM
    two.all[1].engine.max_calls, two.all[1].engine.draining = 10, True
    assert await move(line, 1) is Outcome.REFUSED_NO_ROOM
    await line.talk()
    assert line.owner is two.all[0]
    assert two.all[0].limits.live == 1


async def test_a_target_that_cannot_go_on_refuses(two: Fleet) -> None:
    """It has no such backend, or it is away; then nothing is prepared there."""
    line = await two.call()
    two.all[1].link.ready = False
    assert await move(line, 1) is Outcome.REFUSED_STATE
    assert two.all[1].engine.between.prepared == 0
    await line.talk()


async def test_only_a_connected_call_moves(two: Fleet) -> None:
    """One whose caller has not come finishes its connect where it is."""
    first = two.all[0]
    session = first.engine.create_call(make_offer(), "whip", "", first.link.as_link())
    outcome = await first.moves._outgoing.move(session.call_id, two.all[1].node)
    assert outcome is Outcome.REFUSED_STATE
    with pytest.raises(KeyError):
        await first.moves._outgoing.move("rtc_nobody", two.all[1].node)


Work = Callable[[str, web.Request, bytes], Awaitable[web.Response]]


@pytest.fixture
def at_target(two: Fleet, monkeypatch: pytest.MonkeyPatch) -> Callable[[Work], None]:
    """Let something else happen when the second process is asked for a step of a move."""
    incoming = two.all[1].moves._incoming
    steps = {name: getattr(incoming, f"_{name}") for name in ("prepare", "commit", "abort")}

    def instead(work: Work) -> None:
        for name in steps:
            monkeypatch.setattr(incoming, f"_{name}", partial(work, name))

    two.steps = steps  # type: ignore[attr-defined]
    return instead


async def test_a_target_that_does_not_answer_is_left(
    two: Fleet, at_target: Callable[[Work], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call goes on here soon; what was prepared late there is forgotten."""
    monkeypatch.setattr(outgoing, "PREPARE_TIMEOUT_S", 0.05)
    line, late = await two.call(), asyncio.Event()

    async def slowly(step: str, request: web.Request, body: bytes) -> web.Response:
        if step == "prepare":
            await late.wait()
        return await two.steps[step](request, body)  # type: ignore[attr-defined]

    at_target(slowly)
    assert await move(line, 1) is Outcome.TIMED_OUT
    late.set()
    await line.talk()
    assert line.owner is two.all[0]
    assert two.all[1].engine.calls() == []


async def test_a_commit_that_is_lost_is_said_again(
    two: Fleet, at_target: Callable[[Work], None]
) -> None:
    """Its answer too: the call goes live once, and the old owner hears of it in the end."""
    line = await two.call()
    lost = ["commit", "answer", "answer"]

    async def losing(step: str, request: web.Request, body: bytes) -> web.Response:
        if step == "commit" and lost and lost.pop(0) == "commit":
            raise ConnectionResetError
        answer = await two.steps[step](request, body)  # type: ignore[attr-defined]
        if step == "commit" and lost:
            raise ConnectionResetError
        return answer

    at_target(losing)
    assert await move(line, 1) is Outcome.MOVED
    await line.talk()
    assert line.conversation.owners == 2


async def test_a_target_that_has_forgotten_gives_the_call_back(
    two: Fleet, at_target: Callable[[Work], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The word to go live came too late: it never does, so the old owner goes on."""
    monkeypatch.setattr(arrivals, "PREPARED_S", 0.0)
    line = await two.call()
    assert await move(line, 1) is Outcome.TAKEN_BACK
    await line.talk()
    assert line.owner is two.all[0]
    assert two.all[0].limits.live == 1
    assert two.all[1].engine.counters["move_forgotten"] == 1
    assert await move(line, 1) is Outcome.TAKEN_BACK
    monkeypatch.setattr(arrivals, "PREPARED_S", 5.0)
    assert await move(line, 1) is Outcome.MOVED
    await line.talk()


async def test_a_target_that_dies_gives_the_call_back(
    two: Fleet, at_target: Callable[[Work], None]
) -> None:
    """It said yes and is gone. It may have gone live first, so its numbers are passed over, and
    relays are told to believe it no more."""
    line = await two.call()
    await line.talk()

    async def dying(step: str, request: web.Request, body: bytes) -> web.Response:
        answer = await two.steps[step](request, body)  # type: ignore[attr-defined]
        if step == "commit":
            assert two.all[1].listener is not None
            asyncio.get_running_loop().call_soon(two.all[1].engine.hand_over, line.call_id)
            for server in two.all[1].listener._servers:
                server.close()
            raise ConnectionResetError
        return answer

    at_target(dying)
    before = line.caller.heard[-1].sequence
    assert await move(line, 1) is Outcome.TAKEN_BACK
    await line.talk()
    assert line.owner is two.all[0]
    assert line.caller.heard[-1].sequence - before > 1000
    assert two.relay.claims[-1].fenced == 2 << 16 | 1


async def test_a_call_that_speaks_meanwhile_stays(
    two: Fleet, at_target: Callable[[Work], None]
) -> None:
    """An operator ends it, or a side band says something, while the other process prepares."""
    line = await two.call()

    async def meanwhile(step: str, request: web.Request, body: bytes) -> web.Response:
        if step == "prepare":
            session = two.all[0].engine.find(line.call_id)
            assert session is not None
            session.hear_sideband("{}", from_server=True)
        return await two.steps[step](request, body)  # type: ignore[attr-defined]

    at_target(meanwhile)
    assert await move(line, 1) is Outcome.ABORTED
    assert line.conversation.told == ["{}"]
    await line.talk()
    await line.until(lambda: two.all[1].engine.counters["move_forgotten"] == 1)
    assert two.all[1].engine.between.prepared == 0


async def test_nobody_but_the_fleet_may_ask(two: Fleet) -> None:
    """Without a proof, with one for something else, or for another process: nothing happens."""
    line = await two.call()
    base = f"http://127.0.0.1:{two.all[1].port}/fleet/nodes/{2 << 16 | 1}/moves/{'m' * 16}"
    async with ClientSession() as client:
        async with client.post(f"{base}/prepare", data=b"x" * 100) as answer:
            assert answer.status == 401
        async with client.get(
            f"http://127.0.0.1:{two.all[0].port}/fleet/calls/{line.call_id}"
        ) as answer:
            assert answer.status == 401
    posts = two.all[0].moves._outgoing._posts
    place = Place(2 << 16 | 1, two.all[1].node.http)
    refused = await posts.ask(place, f"moves/{'m' * 16}/prepare", b"1.sealed by somebody")
    assert refused.status == 409
    assert b"move_refused" in refused.body
    with pytest.raises(Unreachable) as gone:
        await posts.ask(Place(99 << 16, two.all[1].node.http), f"moves/{'m' * 16}/commit")
    assert gone.value.dead


async def test_an_envelope_is_for_one_process_and_one_move(two: Fleet) -> None:
    """Nobody else opens it, and what is too large is not sent."""
    line = await two.call()
    state = two.all[0].engine.checkpoint(line.call_id)
    assert state is not None
    envelopes = two.all[0].moves._outgoing._envelopes
    sealed = envelopes.write("one", 7, Envelope(5, state))
    assert envelopes.read("one", 7, sealed) == Envelope(5, state)
    for name, target in (("two", 7), ("one", 8)):
        with pytest.raises(Unreadable):
            envelopes.read(name, target, sealed)
    noise = secrets.token_hex(1_000_000)
    with pytest.raises(TooLarge):
        envelopes.write("one", 7, Envelope(5, replace(state, sideband_opening=noise)))


async def test_a_side_band_goes_along(two: Fleet) -> None:
    """One that is open at the old owner hears and says everything, once, over several moves."""
    line = await two.call()
    url = f"http://127.0.0.1:{two.all[0].port}/v1/realtime?call_id={line.call_id}"
    async with ClientSession() as client, client.ws_connect(url, headers=AUTHORIZED) as socket:
        for number in range(4):
            line.conversation.say(EVENTS, f"before {number}")
            await socket.send_str(f"said {number}")
            assert await move(line, 1 - number % 2) is Outcome.MOVED
            line.conversation.say(EVENTS, f"after {number}")
        heard = [await asyncio.wait_for(socket.receive_str(), 5) for _ in range(8)]
        assert heard == [f"{word} {n}" for n in range(4) for word in ("before", "after")]
        await line.until(lambda: len(line.conversation.told) == 4)
        assert sorted(line.conversation.told) == [f"said {number}" for number in range(4)]


async def test_a_moved_call_is_found_from_everywhere() -> None:
    """By its id, from a process that never had it, also when its first owner has gone."""
    async with fleet(3) as three:
        line = await three.call()
        assert await move(line, 1) is Outcome.MOVED
        assert three.all[0].listener is not None
        await three.all[0].listener.close()
        three.all.pop(0)
        assert await move(line, 1) is Outcome.MOVED
        url = f"http://127.0.0.1:{three.all[0].port}/v1/realtime/calls/{line.call_id}/hangup"
        async with ClientSession() as client:
            hanging_up = asyncio.ensure_future(client.post(url, headers=AUTHORIZED))
            await line.until(lambda: line.caller.closed)
            assert (await hanging_up).status == 200
            async with client.post(url, headers=AUTHORIZED) as again:
                assert again.status == 404


async def test_a_drain_moves_every_call() -> None:
    """To those with room, until none is left; those that nobody takes stay, and go on."""
    async with fleet(3) as three:
        lines = [await three.call()]
        three.all[0].draining = True
        emptying = three.all[0].moves.emptying
        three.all[1].engine.max_calls = three.all[2].engine.max_calls = 0
        emptying_round = asyncio.ensure_future(emptying.round())
        await lines[0].until(emptying_round.done)
        assert emptying_round.result() == 0
        await lines[0].talk()
        three.all[2].engine.max_calls = 10
        emptying_round = asyncio.ensure_future(emptying.round())
        await lines[0].until(emptying_round.done)
        assert emptying_round.result() == 1
        assert lines[0].owner is three.all[2]
        await lines[0].talk()


async def test_a_drain_without_the_store_goes_on(two: Fleet) -> None:
    """To the nodes that it knew."""
    line = await two.call()
    emptying = two.all[0].moves.emptying
    emptying._known = [one.node for one in two.all]

    async def away() -> list[Node]:
        raise StoreUnavailable("Redis does not answer")

    emptying._nodes = away
    two.all[0].draining = True
    moving = asyncio.ensure_future(emptying.round())
    await line.until(moving.done)
    assert moving.result() == 1


async def test_an_operator_moves_a_call(two: Fleet) -> None:
    """By the node's name or index, or anywhere; wrong names are said."""
    line = await two.call()
    moves = two.all[0].moves
    for wanted, said in (("nobody", "no node nobody"), ("t1", "already"), ("1", "already")):
        with pytest.raises(NoTarget, match=said):
            await moves.move(line.call_id, wanted)
    moving = asyncio.ensure_future(moves.move(line.call_id, "t2"))
    await line.until(moving.done)
    assert moving.result() == (Outcome.MOVED, "t2")
    back = asyncio.ensure_future(two.all[1].moves.move(line.call_id))
    await line.until(back.done)
    assert back.result() == (Outcome.MOVED, "t1")
    two.all[1].draining = True
    with pytest.raises(NoTarget, match="no other node"):
        await moves.move(line.call_id)
    with pytest.raises(KeyError):
        await moves.move("rtc_nobody", "t2")
