"""Claims are said again until they are answered, and to everybody in time. Virtual time only."""

from __future__ import annotations

import random
from collections import Counter

from transceiver.takeover.claims import (
    MAX_CLAIMS,
    MAX_WORKERS,
    PATIENCE_S,
    REPEATS_S,
    ROUND_S,
    Claims,
)
from wire.claim import Claim, read

CALL, ONE, TWO = "rtc_1", b"worker one", b"worker two"
CLAIM = Claim("u" * 24, 7, 0, b"a" * 18)


def sent(claims: Claims, until_s: float, step_s: float = 0.005) -> list[tuple[float, bytes]]:
    """When what was sent to whom."""
    found, steps = [], int(until_s / step_s)
    for step in range(steps + 1):
        now = step * step_s
        found += [
            (round(now, 3), worker) for worker, frames in claims.poll(now).items() for _ in frames
        ]
    return found


def test_an_unanswered_claim_is_repeated() -> None:
    """At once, at the five times of the contract, then each second, until patience is over."""
    claims = Claims()
    claims.claim(CALL, [CLAIM], [ONE], 0.0)
    times = [at for at, _ in sent(claims, 15.0)]
    assert times[:6] == [0.0, *REPEATS_S]
    assert times[6:9] == [1.6, 2.6, 3.6]
    assert times[-1] < PATIENCE_S
    assert not claims.senders
    assert claims.unanswered == 0


def test_an_answer_ends_it() -> None:
    """Of the right worker, for the right claim; and the call is told when nothing is open."""
    claims = Claims()
    claims.claim(CALL, [CLAIM], [ONE, TWO], 0.0)
    assert claims.poll(0.0) == {ONE: [CLAIM.frame()], TWO: [CLAIM.frame()]}
    assert claims.answered(ONE, Claim("x" * 24, 7)) == ""
    assert claims.answered(b"stranger", CLAIM) == ""
    assert claims.answered(ONE, CLAIM) == CALL
    assert claims.is_open(CALL)
    assert claims.answered(TWO, CLAIM) == CALL
    assert not claims.is_open(CALL)
    assert claims.due_s() is None or not claims.poll(5.0)


def test_only_named_workers_are_awaited() -> None:
    """Others are told at the same time, but no call waits for them."""
    claims = Claims()
    claims.heard(TWO, 2, 0.0)
    claims.claim(CALL, [CLAIM], [ONE], 0.0)
    assert set(claims.poll(0.0)) == {ONE, TWO}
    claims.answered(ONE, CLAIM)
    assert not claims.is_open(CALL)
    assert claims.unanswered == 1


def test_a_worker_that_nobody_knew_hears_everything() -> None:
    """And so does a new process behind a known address."""
    claims = Claims()
    for number in range(3):
        claims.claim(f"rtc_{number}", [Claim(f"{number}" * 24, 7)], [], 0.0)
    claims.heard(ONE, 1, 1.0)
    assert len(claims.poll(1.0)[ONE]) == 3
    for number in range(3):
        claims.answered(ONE, Claim(f"{number}" * 24, 7))
    claims.heard(ONE, 99, 2.0)
    assert len(claims.poll(2.0)[ONE]) == 3


def test_a_round_tells_all_workers_all_calls() -> None:
    """Each call once in ROUND_S, spread over it, so that no beat is a burst."""
    claims = Claims()
    claims.heard(ONE, 1, 0.0)
    said = [Claim(f"{number:024}", 7) for number in range(100)]
    for number, claim in enumerate(said):
        claims.claim(f"rtc_{number}", [claim], [], 0.0)
    for claim in said:
        claims.answered(ONE, claim)
    claims.poll(0.0)
    told: Counter[bytes] = Counter()
    most = 0
    for beat in range(int(2 * ROUND_S / 0.1) + 1):
        now = beat * 0.1
        claims.beat(now)
        frames = claims.poll(now).get(ONE, [])
        most = max(most, len(frames))
        told.update(payload for _, payload in frames)
        for claim in said:
            claims.answered(ONE, claim)
    assert set(told.values()) == {2}
    assert most <= 2


def test_a_call_that_is_over_is_not_claimed() -> None:
    """Whatever was due."""
    claims = Claims()
    claims.claim(CALL, [CLAIM], [ONE], 0.0)
    claims.forget(CALL)
    claims.heard(TWO, 2, 0.0)
    claims.beat(0.0)
    claims.beat(60.0)
    assert sent(claims, 2.0) == []
    assert len(claims) == claims.unanswered == 0


def test_everything_is_bounded() -> None:
    """Workers, and the claims of one call."""
    claims = Claims()
    many = [Claim("u" * 24, 7, 0, bytes([n]) * 18) for n in range(100)]
    claims.claim(CALL, many, [ONE], 0.0)
    assert claims.unanswered == MAX_CLAIMS
    for number in range(2 * MAX_WORKERS):
        claims.heard(number.to_bytes(18, "big"), number, 0.0)
    assert len(claims.senders) == MAX_WORKERS
    assert claims.unanswered == MAX_WORKERS * MAX_CLAIMS


def test_whatever_happens_every_claim_is_answered_in_the_end() -> None:
    """Packets and answers are lost, workers come, go and restart: once the network is well, each
    worker that speaks knows each live call, and nothing is left that is due."""
    for seed in range(60):
        chance = random.Random(seed)
        claims = Claims()
        knows: dict[bytes, set[bytes]] = {}
        workers = [f"w{n}".encode() for n in range(4)]
        live: set[str] = set()
        now, sender = 0.0, 1
        for step in range(400):
            now += chance.random() * 0.2
            well = step > 250
            if not well and chance.random() < 0.2:
                call = f"rtc_{chance.randrange(8)}"
                if call in live and chance.random() < 0.5:
                    live.discard(call)
                    claims.forget(call)
                else:
                    live.add(call)
                    claims.claim(
                        call, [Claim(call.ljust(24, "x"), 1)], [chance.choice(workers)], now
                    )
            worker = chance.choice(workers)
            if not well and chance.random() < 0.1:
                sender += 1
                knows[worker] = set()  # it has restarted
                if chance.random() < 0.5:
                    claims.senders.pop(worker, None)
            if worker not in claims.senders or chance.random() < 0.02:
                claims.heard(worker, sender, now)
            claims.beat(now)
            for to, frames in claims.poll(now).items():
                for address, payload in frames:
                    if well or chance.random() < 0.5:
                        knows.setdefault(to, set()).add(payload)
                        if well or chance.random() < 0.5:
                            claims.answered(to, read(address, payload))
        for worker in workers:
            claims.heard(worker, 10_000, now)
        for to, frames in claims.poll(now).items():
            for address, payload in frames:
                knows.setdefault(to, set()).add(payload)
                claims.answered(to, read(address, payload))
        wanted = {Claim(call.ljust(24, "x"), 1).frame()[1] for call in live}
        assert claims.unanswered == 0, seed
        for worker in workers:
            assert wanted <= knows.get(worker, set()), (seed, worker)
