"""Where packets of a moved call go, for a while."""

from __future__ import annotations

from transceiver.takeover.tombstones import KEPT_S, MAX_TOMBSTONES, REDIRECT_S, Tombstones
from wire.claim import Claim


def claim(number: int) -> Claim:
    return Claim(f"{number:024}", 7, 0, number.to_bytes(18, "big"))


def test_a_tombstone_is_found_and_forgotten() -> None:
    """By ufrag and by address, until its call comes back."""
    stones = Tombstones()
    stones.add("rtc_1", b"there", [claim(1), claim(2)], 0.0)
    for number in (1, 2):
        assert stones.by_ufrag[claim(number).ufrag].trunk == b"there"
        assert stones.by_address[claim(number).address].call_id == "rtc_1"
    stones.add("rtc_1", b"elsewhere", [claim(2)], 1.0)
    assert len(stones) == len(stones.by_ufrag) == len(stones.by_address) == 1
    assert stones.by_address[claim(2).address].trunk == b"elsewhere"
    stones.forget("rtc_1")
    assert not stones.by_ufrag
    assert not stones.by_address


def test_an_address_that_is_another_calls_stays_there() -> None:
    """The older stone goes, and takes nothing of the newer along."""
    stones = Tombstones()
    stones.add("rtc_1", b"one", [claim(1)], 0.0)
    stones.add("rtc_2", b"two", [claim(1)], 0.0)
    stones.forget("rtc_1")
    assert stones.by_address[claim(1).address].trunk == b"two"


def test_they_are_bounded_in_time_and_number() -> None:
    """The oldest go first."""
    stones = Tombstones()
    for number in range(MAX_TOMBSTONES + 10):
        stones.add(f"rtc_{number}", b"", [claim(number)], 0.0)
    assert len(stones) == MAX_TOMBSTONES
    stones.add("rtc_late", b"", [claim(1)], KEPT_S)
    assert len(stones) == 1


def test_a_worker_is_told_now_and_then() -> None:
    """Not for every packet, and each worker by itself."""
    stones = Tombstones()
    stones.add("rtc_1", b"", [claim(1)], 0.0)
    stone = stones.by_ufrag[claim(1).ufrag]
    assert stone.redirects(b"one", 0.0)
    assert not stone.redirects(b"one", REDIRECT_S / 2)
    assert stone.redirects(b"two", REDIRECT_S / 2)
    assert stone.redirects(b"one", REDIRECT_S)
