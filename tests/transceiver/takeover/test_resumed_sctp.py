"""Data channels whose owner dies some time after its state was written: another goes on.

Both ends speak all the time on virtual time, over a network that loses packets.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from tests.transceiver.data.test_data_channels import Side, Wire, connected, until
from tests.virtual_time import Run
from transceiver.takeover.session_state import SECOND_OLD, STOPPED_BEFORE, Reserve, SctpState
from transceiver.transport.dtls import Role

LABEL = "oai-events"
PERIOD_S = 0.03
LONG = 5000  # bytes: five chunks


def text(number: int, long_every: int) -> str:
    """A numbered message; some are longer than a chunk."""
    padding = LONG if long_every and number % long_every == 0 else 0
    return f"{number}:" + "x" * padding


@dataclass
class Talk:
    """A caller (the wire's client) and the owners of its call, one after the other."""

    wire: Wire
    long_every: int = 0
    sent: int = 0  # by the caller, and by the owners
    answered: int = 0
    owner_heard: list[list[int]] = field(default_factory=list)  # by owner

    @classmethod
    async def begin(cls, seed: int, loss: float, long_every: int = 0) -> Talk:
        return cls(await connected(Wire(seed, loss)), long_every)

    async def go_on(self, seconds: float, *, caller: bool = True, owner: bool = True) -> None:
        """Numbered messages both ways."""
        for _ in range(round(seconds / PERIOD_S)):
            if caller:
                assert self.wire.client.channels.send(LABEL, text(self.sent, self.long_every))
                self.sent += 1
            if owner:
                assert self.wire.server.channels.send(LABEL, text(self.answered, self.long_every))
                self.answered += 1
            await asyncio.sleep(PERIOD_S)

    async def die(self, state: SctpState, reserve: Reserve, outage_s: float) -> None:
        """The owner is gone from one moment to the next; after a while another has its state."""
        self.owner_heard.append(numbers(self.wire.server))
        dead, self.wire.server = self.wire.server, Side(Role.SERVER, self.wire)
        dead.channels.leave()
        await asyncio.sleep(outage_s)
        self.wire.server.channels.resume(state, reserve)

    async def settle(self) -> None:
        """Until both have heard the last word of the other."""
        last_sent, last_answered = self.sent - 1, self.answered - 1
        await until(lambda: numbers(self.wire.client)[-1:] == [last_answered])
        await until(lambda: numbers(self.wire.server)[-1:] == [last_sent])
        self.owner_heard.append(numbers(self.wire.server))

    def state(self) -> SctpState:
        state = self.wire.server.channels.export()
        assert state is not None
        return state


def numbers(side: Side) -> list[int]:
    return [int(str(content).partition(":")[0]) for _, content in side.heard]


@pytest.mark.parametrize("loss", [0.0, 0.1])
@pytest.mark.parametrize("seed", range(8))
def test_an_owner_dies_after_its_state_was_written(run: Run, seed: int, loss: float) -> None:
    """The order holds, nothing comes twice, and what is said from then on arrives."""

    async def scenario() -> None:
        talk = await Talk.begin(seed, loss)
        await talk.go_on(1 + seed / 7)
        state, known = talk.state(), talk.answered
        await talk.go_on(seed / 8)
        answered = talk.answered
        await talk.die(state, SECOND_OLD, outage_s=0.3 + seed / 8)
        await talk.go_on(3)
        await talk.settle()
        heard = numbers(talk.wire.client)
        assert heard == sorted(set(heard))
        assert set(range(known)) | set(range(answered, talk.answered)) <= set(heard)
        dead, new = talk.owner_heard
        assert (dead, new) == (sorted(set(dead)), sorted(set(new)))
        assert set(dead) | set(new) == set(range(talk.sent))
        # What both heard was said in the last moments, and its acknowledgement was lost.
        assert len(set(dead) & set(new)) <= 2 / PERIOD_S * loss + 1
        await talk.wire.stop()

    run(scenario())


@pytest.mark.parametrize("seed", range(8))
def test_long_messages_that_the_death_cut(run: Run, seed: int) -> None:
    """Pieces of a message whose rest is gone with its owner never hold up those behind it."""

    async def scenario() -> None:
        talk = await Talk.begin(seed, 0.05, long_every=2)
        await talk.go_on(1)
        state = talk.state()
        await talk.go_on(0.1 + seed / 16)
        await talk.die(state, SECOND_OLD, outage_s=0.2)
        await talk.go_on(2)
        await talk.settle()
        heard, new = numbers(talk.wire.client), talk.owner_heard[-1]
        assert heard == sorted(set(heard))
        assert new == sorted(set(new))
        lost = set(range(talk.sent)) - set(talk.owner_heard[0]) - set(new)
        assert len(lost) <= 1
        association = talk.wire.server.channels._association
        assert not any(stream.reassembly for stream in association._inbound_streams.values())
        assert association._advertised_rwnd == state.advertised_window + sum(
            len(chunk.data) for stream in state.inbound for chunk in stream.chunks
        )
        await talk.wire.stop()

    run(scenario())


@pytest.mark.parametrize("seed", range(8))
def test_an_owner_that_stopped_first_loses_nothing(run: Run, seed: int) -> None:
    """A handover while messages are lost and under way: each arrives once, in order."""

    async def scenario() -> None:
        talk = await Talk.begin(seed, 0.1, long_every=3)
        await talk.go_on(1)
        await talk.die(talk.state(), STOPPED_BEFORE, outage_s=0.1)
        await talk.go_on(1)
        await talk.settle()
        assert numbers(talk.wire.client) == list(range(talk.answered))
        dead, new = talk.owner_heard
        assert dead + new == list(range(talk.sent))
        await talk.wire.stop()

    run(scenario())


def test_a_quiet_channel_goes_on_at_once(run: Run) -> None:
    """Where nothing was said since the state was written there is no hole, and no waiting."""

    async def scenario() -> None:
        talk = await Talk.begin(1, 0.0)
        await talk.go_on(0.3)
        await asyncio.sleep(1)
        await talk.die(talk.state(), SECOND_OLD, outage_s=1)
        began_s = asyncio.get_running_loop().time()
        await talk.go_on(0.3)
        await talk.settle()
        assert asyncio.get_running_loop().time() - began_s < 0.6  # virtual seconds
        assert not talk.wire.server.channels.dropped["sctp_passed_over"]
        await talk.wire.stop()

    run(scenario())


def test_the_second_death_is_like_the_first(run: Run) -> None:
    """A state written by an owner that had itself passed over a hole is as good."""

    async def scenario() -> None:
        talk = await Talk.begin(3, 0.02)
        for _ in range(4):
            await talk.go_on(1)
            state = talk.state()
            await talk.go_on(0.5)
            await talk.die(state, SECOND_OLD, outage_s=0.3)
        await talk.go_on(3)
        await talk.settle()
        heard = numbers(talk.wire.client)
        assert heard == sorted(set(heard))
        assert set(range(talk.sent)) == {n for owner in talk.owner_heard for n in owner}
        await talk.wire.stop()

    run(scenario())


def test_ending_while_a_hole_is_waited_for_leaves_nothing(run: Run) -> None:
    """The timer that waits for a hole to be filled ends with the association."""

    async def scenario() -> None:
        talk = await Talk.begin(1, 0.0)
        state = talk.state()
        await talk.go_on(0.3, owner=False)
        await talk.die(state, SECOND_OLD, outage_s=0.1)
        await talk.go_on(0.3, owner=False)
        await talk.wire.stop()

    run(scenario())
