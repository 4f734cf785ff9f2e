"""What the API answers of calls that are in a store, in SQLite and in Postgres."""

from __future__ import annotations

import pytest

from records.store.store import Store
from tests.records.api.kit import KEY, OPERATOR, VIEWER, serving
from tests.records.kit import NOON_US, Teller
from trunkline.v1 import record_pb2 as pb


def filled(store: Store) -> Teller:
    """A whole call, and its teller."""
    teller = Teller()
    store.write(teller.whole_call())
    return teller


def short_call(store: Store, at: int, **placed: str) -> str:
    """A call that began `at` seconds after noon, and lives."""
    teller = Teller(now_us=NOON_US + at * 1_000_000)
    told = {"tenant": "acme", "key_id": "k1", "model": "m-1", **placed}
    store.write([teller.tell(placed=pb.Placed(**told))])  # type: ignore[arg-type]
    return teller.call_id


async def test_a_call_and_its_parts(store: Store) -> None:
    """Head, diagnosis, turns, media, transcript, cost: what the events say."""
    call_id = filled(store).call_id
    async with serving(store) as api:
        _, whole = await api.get(f"/v1/calls/{call_id}")
        _, turns = await api.get(f"/v1/calls/{call_id}/turns")
        _, media = await api.get(f"/v1/calls/{call_id}/media")
        _, said = await api.get(f"/v1/calls/{call_id}/transcript")
        _, cost = await api.get(f"/v1/calls/{call_id}/cost")
    assert (whole["call"]["state"], whole["call"]["tenant"]) == ("ended", "acme")
    assert whole["story"]["ending"]["words"] == "The caller ended it."
    assert whole["story"]["diagnosis"]["cause"] == "hanging_tool"
    assert [one["voice_to_voice_ms"] for one in turns["turns"]] == [400, 900]
    assert [one["direction"] for one in media["lines"]] == ["from_caller", "to_caller"]
    assert media["spans"][0]["packets"] == 490
    assert [one["text"] for one in said["items"]] == ["Where is my parcel?", "It left on Monday."]
    assert cost["price"] == 0.25
    assert cost["usage"][0]["amounts"]["audio_input_tokens"] == 120


async def test_events_page_by_page(store: Store) -> None:
    """Each event once, in order, with its content; of one kind when that is asked for."""
    teller = filled(store)
    path = f"/v1/calls/{teller.call_id}/events"
    found, cursor = [], ""
    async with serving(store) as api:
        while True:
            _, page = await api.get(f"{path}?limit=5{cursor}")
            found += page["events"]
            if page["next_cursor"] is None:
                break
            assert len(page["events"]) == 5
            cursor = f"&cursor={page['next_cursor']}"
        _, gaps = await api.get(f"{path}?kind=gap")
        _, late = await api.get(f"{path}?since_us={NOON_US + 1_500_000}")
    assert [one["number"] for one in found] == list(range(1, 17))
    assert found[5]["content"] == "Where is my parcel?"
    assert found[0]["body"]["tenant"] == "acme"
    assert [one["body"]["length_ms"] for one in gaps["events"]] == [140]
    assert [one["number"] for one in late["events"]] == [15, 16]


async def test_a_list_is_filtered_and_paged(store: Store) -> None:
    """The newest first; a page ends where the next one begins."""
    ids = [short_call(store, at, model="m-2" if at == 2 else "m-1") for at in range(5)]
    slow = filled(store).call_id
    async with serving(store) as api:

        async def listed(query: str) -> list[str]:
            status, page = await api.get(f"/v1/calls?{query}")
            assert status == 200, page
            return [one["call_id"] for one in page["calls"]]

        _, first = await api.get("/v1/calls?limit=4")
        _, rest = await api.get(f"/v1/calls?limit=4&cursor={first['next_cursor']}")
        both = [one["call_id"] for page in (first, rest) for one in page["calls"]]
        assert sorted(both) == sorted([*ids, slow])
        assert rest["next_cursor"] is None
        assert await listed("model=m-2") == [ids[2]]
        assert await listed("v2v_p95_ms>800") == [slow]
        assert await listed("v2v_p95_ms>900") == []
        assert await listed("state=ended&end_reason=client_closed") == [slow]
        assert await listed("text=PARCEL") == [slow]
        assert await listed("prompt=greeter@7") == [slow]
        assert await listed("prompt=greeter@8") == []
        assert len(await listed("since=2026-09-21T14:13:21Z&until=2026-09-21T14:13:24Z")) == 3


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("modell=m-1", "bad_filter"),
        ("since=yesterday", "bad_filter"),
        ("limit=0", "bad_filter"),
        ("limit=201", "bad_filter"),
        ("state=dead", "bad_filter"),
        ("v2v_p95_ms>fast", "bad_filter"),
        ("v2v_p95_ms>nan", "bad_filter"),
        ("model=", "bad_filter"),
        ("text=" + "a" * 201, "bad_filter"),
        ("text=%00", "bad_filter"),
        ("cursor=1", "bad_cursor"),
        ("cursor=99999999999999999999.a", "bad_cursor"),
    ],
)
async def test_a_bad_query_is_refused_in_words(store: Store, query: str, code: str) -> None:
    """With the rule, and never with a 500."""
    async with serving(store) as api:
        status, problem = await api.get(f"/v1/calls?{query}")
    assert (status, problem["code"]) == (400, code)
    assert problem["detail"].endswith(".")


async def test_a_key_sees_the_calls_of_its_tenant_alone(store: Store) -> None:
    """In lists and one by one; a call of others is no call."""
    own, others = short_call(store, 1), short_call(store, 2, tenant="other")
    async with serving(store) as api:
        _, page = await api.get("/v1/calls", KEY)
        _, asked = await api.get("/v1/calls?tenant=other", KEY)
        for path in ("", "/events", "/transcript", "/turns", "/media", "/cost", "/export"):
            assert (await api.get(f"/v1/calls/{others}{path}", KEY))[0] == 404
            assert (await api.get(f"/v1/calls/{own}{path}", KEY))[0] == 200
        assert (await api.get(f"/v1/realtime/calls/{others}", KEY))[0] == 404
        assert await api.delete(f"/v1/calls/{others}", KEY) == 404
        _, me = await api.get("/v1/me", KEY)
    assert [one["call_id"] for one in page["calls"]] == [own]
    assert [one["call_id"] for one in asked["calls"]] == [own]
    assert (me["role"], me["tenant"]) == ("key", "acme")


async def test_who_may_ask(store: Store) -> None:
    """Nobody without a token once there are some; a viewer may look and not erase."""
    call_id = filled(store).call_id
    async with serving(store) as api:
        for token in ("", "wrong-token-12345678"):
            status, problem = await api.get("/v1/calls", token)
            assert (status, problem["code"]) == (401, "denied")
        assert (await api.get(f"/v1/calls/{call_id}", VIEWER))[0] == 200
        assert await api.delete(f"/v1/calls/{call_id}", VIEWER) == 403
        assert await api.delete(f"/v1/calls/{call_id}", OPERATOR) == 204


async def test_without_tokens_this_machine_may(store: Store) -> None:
    """But not under a name that another site could point here."""
    async with serving(store, tokens=()) as api:
        assert (await api.get("/v1/calls", ""))[0] == 200
        status, problem = await api.get("/v1/calls", "", Host="rebound.example")
    assert (status, problem["code"]) == (403, "forbidden_host")


async def test_erasing_leaves_the_chain_whole(store: Store) -> None:
    """What was said is gone from every answer and export, and the record still verifies."""
    call_id = filled(store).call_id
    async with serving(store) as api:
        _, before = await api.get(f"/v1/calls/{call_id}/verify")
        assert await api.delete(f"/v1/calls/{call_id}") == 204
        _, after = await api.get(f"/v1/calls/{call_id}/verify")
        _, said = await api.get(f"/v1/calls/{call_id}/transcript")
        texts = [str((await api.get(f"/v1/calls/{call_id}{path}"))[1]) for path in ("", "/events")]
        texts += [(await api.file(f"/v1/calls/{call_id}/export"))[0].decode()]
        assert await api.delete("/v1/calls/rtc_none") == 404
    assert (before["whole"], before["contents_checked"]) == (True, 2)
    assert (after["whole"], after["contents_checked"]) == (True, 0)
    assert [one["text"] for one in said["items"]] == [None, None]
    assert said["erased_us"] is not None
    assert not any("parcel" in text for text in texts)


@pytest.mark.parametrize(
    ("statement", "wrong"),
    [
        ("UPDATE events SET body = (SELECT body FROM events WHERE number = 4) WHERE number = 5", 5),
        ("DELETE FROM events WHERE number = 7", None),
        ("UPDATE contents SET content = 'Nothing.' WHERE number = 6", None),
    ],
)
async def test_what_was_changed_is_found(store: Store, statement: str, wrong: int | None) -> None:
    """An event that was changed or removed, and a content that is another."""
    call_id = filled(store).call_id
    with store.writing() as connection:
        connection.run(statement)
    async with serving(store) as api:
        _, told = await api.get(f"/v1/calls/{call_id}/verify")
    assert told["whole"] is False
    assert told["chains"][0]["broken_at"] == wrong
    assert told["chains"][0]["missing"] == ("DELETE" in statement)
    assert len(told["contents_wrong"]) == ("contents" in statement)


async def test_a_hole_that_the_source_tells_of_is_no_tampering(store: Store) -> None:
    """The event that says so is part of the chain."""
    teller = Teller()
    told = [teller.tell(placed=pb.Placed(tenant="acme"))]
    teller.chain.leave_out()
    told += [teller.tell(hole=pb.Hole(first=2, last=2)), teller.tell(ended=pb.Ended())]
    store.write(told)
    async with serving(store) as api:
        _, found = await api.get(f"/v1/calls/{teller.call_id}/verify")
    assert (found["whole"], found["chains"][0]["holes"], found["chains"][0]["missing"]) == (
        *(True, 1, 0),
    )


async def test_clients_of_openai(store: Store) -> None:
    """Their objects: a call, and ordered items with roles, status and what was heard."""
    teller = Teller()
    cut = pb.Item(
        item_id="i3",
        role=pb.ROLE_ASSISTANT,
        type="message",
        audio=True,
        truncated=True,
        final=True,
        heard_chars=5,
        heard_ms=400,
    )
    tool = pb.Item(item_id="i4", type="function_call", tool_name="track", tool_call_id="c1")
    store.write([*teller.whole_call(), teller.tell("It is lost.", item=cut)])
    store.write([teller.tell('{"parcel":1}', item=tool)])
    async with serving(store) as api:
        _, call = await api.get(f"/v1/realtime/calls/{teller.call_id}", KEY)
        _, told = await api.get(f"/v1/realtime/calls/{teller.call_id}/transcript", KEY)
        status, problem = await api.get("/v1/realtime/calls/rtc_none", KEY)
        _, own = await api.get(f"/v1/calls/{teller.call_id}/transcript", KEY)
    assert (call["object"], call["status"]) == ("realtime.call", "completed")
    assert call["usage"]["total_tokens"] == 350
    assert [(one["role"], one["status"]) for one in told["data"][:3]] == [
        *(("user", "completed"), ("assistant", "completed"), ("assistant", "incomplete")),
    ]
    assert told["data"][2]["content"] == [{"type": "output_audio", "transcript": "It is lost."}]
    assert (told["data"][3]["name"], told["data"][3]["arguments"]) == ("track", '{"parcel":1}')
    assert own["items"][2]["heard"] == "It is"
    assert (status, problem["error"]["code"]) == (404, "no_such_call")


async def test_a_prompt_that_was_changed_an_hour_before(store: Store) -> None:
    """The store knows which version was in use before."""
    for number, (version, at) in enumerate([("6", -9000), ("7", -2400), ("7", 0)]):
        teller = Teller(f"rtc_{number}", now_us=NOON_US + at * 1_000_000)
        events = [
            teller.tell(placed=pb.Placed(tenant="acme")),
            teller.tell(session=pb.SessionSet(prompt_id="greeter", prompt_version=version)),
            teller.tell(turn=pb.Turn(turn=1, final=True, interrupted=True)),
            teller.tell(turn=pb.Turn(turn=2, final=True, interrupted=True)),
        ]
        store.write(events)
    async with serving(store) as api:
        _, before = await api.get("/v1/calls/rtc_0")
        _, after = await api.get("/v1/calls/rtc_2")
    assert before["story"]["diagnosis"]["cause"] == "nothing_wrong"
    assert after["story"]["diagnosis"]["cause"] == "prompt_changed"
    assert "40 minutes" in after["story"]["diagnosis"]["sentence"]


async def test_paths_that_are_none(store: Store) -> None:
    """A problem like any other."""
    async with serving(store) as api:
        assert (await api.get("/v1/nothing"))[1]["code"] == "not_found"
        assert await api.delete("/v1/calls") == 405
        assert (await api.get("/healthz", ""))[0] == 200
