"""What is older than it may be is forgotten, and nothing else."""

from __future__ import annotations

from pathlib import Path

from records.store import reading
from records.store.reading import CallFilter
from records.store.retention import Retention
from records.store.rows import US_PER_DAY
from records.store.store import Store
from tests.records.kit import NOON_US, Teller


def with_days(url: str, days_later: float) -> Store:
    """The store as it is so many days after noon of the first call."""
    return Store(url, unix_s=lambda: (NOON_US + days_later * US_PER_DAY) / 1_000_000)


def test_contents_go_first(store: Store, store_url: str) -> None:
    """Of a call of ten days before what was said is gone, and all else is there."""
    old, new = Teller("rtc_old"), Teller("rtc_new", now_us=NOON_US + 9 * US_PER_DAY)
    store.write([*old.whole_call(), *new.whole_call()])
    later = with_days(store_url, 10)
    later.forget(Retention(content_days=5, days=30))
    later.close()
    with store.reading() as connection:
        assert reading.contents(connection, "rtc_old") == {}
        assert len(reading.contents(connection, "rtc_new")) == 2
        assert len(reading.events(connection, "rtc_old")) == 16


def test_then_the_whole_call(store: Store, store_url: str) -> None:
    """No table has anything of it, and the days that are left take new events."""
    old, new = Teller("rtc_old"), Teller("rtc_new", now_us=NOON_US + 9 * US_PER_DAY)
    store.write([*old.whole_call(), *new.whole_call()])
    later = with_days(store_url, 10)
    later.forget(Retention(days=5))
    later.close()
    store.write(Teller("rtc_again", now_us=NOON_US + 9 * US_PER_DAY).whole_call())
    with store.reading() as connection:
        rows = reading.calls(connection, CallFilter())
        assert {row["call_id"] for row in rows} == {"rtc_new", "rtc_again"}
        for read in (reading.turns, reading.media, reading.usages, reading.tools, reading.sources):
            assert read(connection, "rtc_old") == []
            assert read(connection, "rtc_new") != []
        assert reading.events(connection, "rtc_old") == []


def test_for_ever(store: Store, store_url: str, tmp_path: Path) -> None:
    """Without a rule nothing is forgotten."""
    teller = Teller("rtc_old")
    store.write(teller.whole_call())
    later = with_days(store_url, 10_000)
    later.forget(Retention())
    later.close()
    with store.reading() as connection:
        assert len(reading.events(connection, "rtc_old")) == 16
        assert len(reading.contents(connection, "rtc_old")) == 2
