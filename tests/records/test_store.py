"""What is written is there once, and is read as it was told, in SQLite and in Postgres."""

from __future__ import annotations

import hashlib
import random
import threading
from pathlib import Path

import pytest

from fleet.errors import StoreUnavailable
from records.store import reading
from records.store.errors import WrongSchema
from records.store.opening import open_database
from records.store.reading import CallFilter
from records.store.rows import Unreadable, read
from records.store.schema import VERSION
from records.store.store import Store
from records.store.writing import Written
from tests.records.kit import NOON_US, Teller
from trunkline.v1 import record_pb2 as pb


def test_a_call_is_one_row(store: Store) -> None:
    """Its row says who, when, what it was and why it ended."""
    teller = Teller()
    store.write(teller.whole_call())
    with store.reading() as connection:
        row = reading.call(connection, teller.call_id)
    assert row
    told = {
        "tenant": "acme",
        "node": 17,
        "network": "198.51.100.0/24",
        "prompt_version": "7",
        "model": "m-1-2026",
        "end_reason": "client_closed",
        "end_cause": "caller_hung_up",
        "lasted_s": 61.5,
        "turns": 2,
        "turns_interrupted": 1,
        "v2v_p50_ms": 400,
        "v2v_p95_ms": 900,
        "input_tokens": 150,
        "output_tokens": 200,
        "price": 0.25,
        "tools_failed": 1,
        "packets_from_caller": 490,
        "lost_from_caller": 10,
        "packets_to_caller": 500,
        "longest_gap_ms": 140,
        "events": 16,
        "holes": 0,
        "erased_us": None,
    }
    assert {name: row[name] for name in told} == told
    assert row["placed_us"] == NOON_US + 100_000
    assert row["ended_us"] == row["last_us"] == NOON_US + 1_600_000


def test_the_parts_of_a_call(store: Store) -> None:
    """Events come back as they were written; transcript, turns, media, usage and tools as rows."""
    teller = Teller()
    told = teller.whole_call()
    store.write(told)
    with store.reading() as connection:
        assert reading.events(connection, teller.call_id) == [one.event for one in told]
        kinds = reading.events(connection, teller.call_id, kind="gap")
        transcript = reading.transcript(connection, teller.call_id)
        turns = reading.turns(connection, teller.call_id)
        media = reading.media(connection, teller.call_id)
        usages = reading.usages(connection, teller.call_id)
        tools = reading.tools(connection, teller.call_id)
        (source,) = reading.sources(connection, teller.call_id)
    assert [event.gap.length_ms for event in kinds] == [140]
    assert [(item["role"], item["content"]) for item in transcript] == [
        ("user", "Where is my parcel?"),
        ("assistant", "It left on Monday."),
    ]
    assert [(turn["turn"], bool(turn["final"]), turn["out_ms"]) for turn in turns] == [
        (1, True, 400),
        (2, True, 900),
    ]
    assert turns[0]["first_sound_ms"] is None
    assert [(m["direction"], m["round_trip_ms"]) for m in media] == [
        ("from_caller", None),
        ("to_caller", 31.5),
    ]
    assert {row["kind"]: row["amount"] for row in usages} == {
        "audio_input_tokens": 120,
        "text_cached_tokens": 30,
        "audio_output_tokens": 200,
    }
    assert [tool["outcome"] for tool in tools] == ["timed_out"]
    assert (source["events"], source["last_number"]) == (16, 16)
    assert bytes(source["last_hash"]) == hashlib.sha256(told[-1].body).digest()


def test_nothing_is_stored_twice(store: Store) -> None:
    """Batches that come again, in parts and in any order, change nothing."""
    teller = Teller()
    told = teller.whole_call()
    random.Random(1).shuffle(told)
    assert store.write(told[:9]) == Written(9, 0)
    assert store.write([*told[5:], *told[5:]]) == Written(7, 15)
    assert store.write(told) == Written(0, 16)
    with store.reading() as connection:
        row = reading.call(connection, teller.call_id)
        amounts = reading.usages(connection, teller.call_id)
    assert row
    assert (row["events"], row["packets_from_caller"], row["price"]) == (16, 490, 0.25)
    assert len(amounts) == 3


def test_order_of_arrival_does_not_matter(store: Store) -> None:
    """Each event by itself, from the last to the first, makes the same row."""
    forward, backward = Teller("rtc_f"), Teller("rtc_b")
    store.write(forward.whole_call())
    for one in reversed(backward.whole_call()):
        store.write([one])
    with store.reading() as connection:
        rows = [reading.call(connection, teller.call_id) for teller in (forward, backward)]
        last = [
            reading.sources(connection, t.call_id)[0]["last_number"] for t in (forward, backward)
        ]
        turns = [reading.turns(connection, t.call_id) for t in (forward, backward)]
    first, second = rows
    assert first and second
    assert {**first, "call_id": ""} == {**second, "call_id": ""}
    assert last == [16, 16]
    assert bool(turns[0][0]["final"]) is bool(turns[1][0]["final"]) is True


def test_several_writers_at_once(store: Store, store_url: str) -> None:
    """Two recorders that write the same events and calls neither wait for ever nor count twice."""
    tellers = [Teller(f"rtc_{number}") for number in range(20)]
    told = [one for teller in tellers for one in teller.whole_call()]
    written: list[Written] = []

    def write(seed: int) -> None:
        mine, other = list(told), Store(store_url)
        random.Random(seed).shuffle(mine)
        for start in range(0, len(mine), 40):
            written.append(other.write(mine[start : start + 40]))
        other.close()

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(part.new for part in written) == len(told)
    with store.reading() as connection:
        rows = reading.calls(connection, CallFilter(limit=100))
    assert [row["events"] for row in rows] == [16] * 20


def test_erasing_takes_what_was_said_and_nothing_else(store: Store) -> None:
    """Also what comes later is not kept; hashes stay."""
    teller = Teller()
    told = teller.whole_call()
    store.write(told[:6])
    assert store.erase(teller.call_id)
    store.write(told[6:])
    with store.reading() as connection:
        assert reading.contents(connection, teller.call_id) == {}
        transcript = reading.transcript(connection, teller.call_id)
        events = reading.events(connection, teller.call_id)
        row = reading.call(connection, teller.call_id)
    assert [item["content"] for item in transcript] == [None, None]
    assert events == [one.event for one in told]
    assert row and row["erased_us"]
    assert not store.erase("rtc_nobody")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (CallFilter(), ["rtc_2", "rtc_1", "rtc_0"]),
        (CallFilter(limit=2), ["rtc_2", "rtc_1"]),
        (CallFilter(tenant="acme", end_reason="client_closed", model="m-1-2026"), None),
        (CallFilter(tenant="umbrella"), []),
        (CallFilter(prompt_id="greeter", prompt_version="7"), None),
        (CallFilter(v2v_p95_ms_above=900), []),
        (CallFilter(v2v_p95_ms_above=899), None),
        (CallFilter(since_us=NOON_US + 60_000_000), ["rtc_2", "rtc_1"]),
        (CallFilter(until_us=NOON_US + 60_000_000), ["rtc_0"]),
        (CallFilter(live=True), []),
        (CallFilter(live=False, text="MY parcel"), None),
        (CallFilter(text="100%"), []),
        (CallFilter(before=(NOON_US + 60_100_000, "rtc_1")), ["rtc_0"]),
    ],
)
def test_filters(store: Store, wanted: CallFilter, found: list[str] | None) -> None:
    """Each filter finds what it says, the newest first."""
    for number in range(3):
        teller = Teller(f"rtc_{number}", now_us=NOON_US + number * 60_000_000)
        store.write(teller.whole_call())
    with store.reading() as connection:
        rows = reading.calls(connection, wanted)
    expected = ["rtc_2", "rtc_1", "rtc_0"] if found is None else found
    assert [row["call_id"] for row in rows] == expected


def test_what_a_source_says_is_missing_is_counted(store: Store) -> None:
    """A hole has its events in the row, and the numbers of the source show it as well."""
    teller = Teller()
    first = teller.tell(placed=pb.Placed(tenant="acme"))
    for _ in range(5):
        teller.chain.leave_out()
    hole = pb.Hole(first=2, last=6, reason=pb.HOLE_REASON_BACKLOG)
    store.write([first, teller.tell(hole=hole)])
    with store.reading() as connection:
        row = reading.call(connection, teller.call_id)
        (source,) = reading.sources(connection, teller.call_id)
    assert row and row["holes"] == 5
    assert source["last_number"] - source["events"] == 5


def test_every_day_has_its_place(store: Store) -> None:
    """A call over midnight, and a clock that is wrong, are stored as well."""
    teller = Teller(now_us=-5)
    store.write([teller.tell(fault=pb.Fault(kind="ValueError"))])
    teller.now_us = 2**62
    store.write([teller.tell(fault=pb.Fault(kind="ValueError"))])
    with store.reading() as connection:
        assert len(reading.events(connection, teller.call_id)) == 2


def test_strange_texts_are_stored(store: Store) -> None:
    """NUL is no character of Postgres; what looks like a placeholder is text."""
    teller = Teller()
    said = teller.tell(":limit %s \u2603 'x'", item=pb.Item(item_id="a\0b", role=99))  # type: ignore[arg-type]
    store.write([said])
    with store.reading() as connection:
        (item,) = reading.transcript(connection, teller.call_id)
    assert (item["item_id"], item["role"]) == ("a\N{REPLACEMENT CHARACTER}b", "99")
    assert item["content"] == ":limit %s \u2603 'x'"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda e: pb.Envelope(event=b"\xff" + e.event),
        lambda e: pb.Envelope(event=b""),
        lambda e: pb.Envelope(event=e.event, salt=e.salt, content="another"),
        lambda e: pb.Envelope(event=e.event),
        lambda _: pb.Envelope(
            event=pb.Event(call_id="a\0b", source="s", number=1).SerializeToString()
        ),
        lambda _: pb.Envelope(event=pb.Event(call_id="a", source="s").SerializeToString()),
        lambda _: pb.Envelope(
            event=pb.Event(call_id="a", source="s", number=2**64 - 1).SerializeToString()
        ),
        lambda _: pb.Envelope(
            event=pb.Event(call_id="a", source="s" * 201, number=1).SerializeToString()
        ),
    ],
)
def test_what_is_no_event_is_not_read(spoil: object) -> None:
    """A body that is none, a name that is none, a content that is another's."""
    whole = Teller().envelope("said", item=pb.Item(item_id="i"))
    with pytest.raises(Unreadable):
        read(spoil(whole))  # type: ignore[operator]


def test_a_body_of_a_later_version_is_kept(store: Store) -> None:
    """Its bytes are stored, and it is told as what it is: unknown."""
    teller = Teller()
    envelope = teller.envelope()
    store.write([read(pb.Envelope(event=envelope.event + b"\xfa\x06\x02\x08\x01"))])
    with store.reading() as connection:
        (row,) = reading.bodies(connection, teller.call_id)
    assert row["kind"] == "unknown"
    assert bytes(row["body"]) == envelope.event + b"\xfa\x06\x02\x08\x01"


def test_migrating_is_done_once(store: Store) -> None:
    """The second time there is nothing to do, and a reader is content."""
    assert store.migrate() == VERSION
    store.check()


def test_a_store_of_a_later_version_is_refused(store: Store) -> None:
    """Neither a recorder nor a reader touches it."""
    with store.writing() as connection:
        connection.run("INSERT INTO schema_version VALUES (:version)", {"version": VERSION + 1})
    for use in (store.migrate, store.check):
        with pytest.raises(WrongSchema, match=f"has schema {VERSION + 1}"):
            use()


def test_a_transaction_is_whole_or_nothing(store: Store) -> None:
    """What was written before something raised is not there."""
    teller = Teller()
    with pytest.raises(ZeroDivisionError), store.writing() as connection:
        connection.run(
            "INSERT INTO calls (call_id, first_us) VALUES (:id, 1)", {"id": teller.call_id}
        )
        raise ZeroDivisionError
    with store.reading() as connection:
        assert reading.call(connection, teller.call_id) is None


def test_a_place_that_is_not_there(tmp_path: Path) -> None:
    """A directory, and a port that nobody has, are StoreUnavailable without a password."""
    for url in (f"sqlite:///{tmp_path}", "postgresql://u:secret@127.0.0.1:1/x"):
        with pytest.raises(StoreUnavailable) as caught:
            Store(url).migrate()
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "sqlite://", "mysql://secret@h/x", "postgresql://h:secret/x y"]
)
def test_a_url_that_is_none(url: str) -> None:
    """It is refused and not quoted."""
    with pytest.raises(ValueError, match="not a") as caught:
        open_database(url)
    assert "secret" not in str(caught.value)
