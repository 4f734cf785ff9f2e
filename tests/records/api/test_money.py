"""Money over the API: the cost of a call, the tax of many, who may see it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from fleet.settings import load
from records.api.settings import RecordsApiSettings
from records.money import reading
from records.money.tax import By
from records.store.reading import CallFilter
from records.store.store import Store
from tests.records.api.kit import KEY, VIEWER, Served, serving
from tests.records.kit import NOON_US, Teller
from trunkline.v1 import record_pb2 as pb

DAY_US = 86_400_000_000


@pytest.fixture
async def api(store: Store) -> AsyncIterator[Served]:
    store.write(Teller("rtc_one").whole_call())
    later = Teller("rtc_two", now_us=NOON_US + DAY_US)
    store.write(
        [
            later.tell(placed=pb.Placed(tenant="acme", key_id="k2")),
            later.tell(session=pb.SessionSet(prompt_id="greeter", prompt_version="8")),
            later.tell(
                usage=pb.UsageReport(
                    provider="openai",
                    model="gpt-realtime-2.1",
                    amounts=[pb.Amount(kind=pb.USAGE_KIND_AUDIO_OUTPUT_TOKENS, amount=1000)],
                )
            ),
            later.tell(resources=pb.Resources(cpu_s=2.5, bytes_to_caller=1_000_000)),
            later.tell(moved=pb.Moved(kind=pb.MOVE_KIND_LEFT, gap_ms=99)),
            later.tell(moved=pb.Moved(kind=pb.MOVE_KIND_CRASH, gap_ms=40)),
            later.tell(
                turn=pb.Turn(turn=1, ended_ms=200, first_sound_ms=450, out_ms=500, rtt_ms=30)
            ),
            later.tell(ended=pb.Ended(lasted_s=120)),
        ]
    )
    async with serving(store) as served:
        yield served


async def test_the_cost_of_a_call(api: Served) -> None:
    """By layer, in money and ms; the layers add up to the bill."""
    status, cost = await api.get("/v1/calls/rtc_two/cost")
    assert status == 200
    bill = cost["bill"]
    layers = {one["layer"]: one for one in bill["layers"]}
    assert Decimal(layers["model"]["paid"]) == Decimal("0.064")
    assert Decimal(layers["transport"]["paid"]) == Decimal("2.5") * Decimal("0.000011244")
    assert sum(Decimal(one["paid"]) for one in bill["layers"]) == Decimal(bill["paid"])
    assert layers["scaling"]["silence_ms"] == 40
    times = ("transport", "latency_engineering", "model")
    assert [layers[name]["ms_per_answer"] for name in times] == [30, 250, 250]
    assert bill["answer_ms"] == 530


async def test_prices_are_the_operators(api: Served) -> None:
    """A key sees what its call used, and no price of ours; the tax is not for keys."""
    _, cost = await api.get("/v1/calls/rtc_two/cost", KEY)
    assert cost["bill"] is None
    assert cost["usage"][0]["amounts"] == {"audio_output_tokens": 1000}
    status, problem = await api.get("/v1/tax", KEY)
    assert (status, problem["code"]) == (403, "not_for_keys")
    assert (await api.get("/v1/tax", VIEWER))[0] == 200


@pytest.mark.parametrize(
    ("query", "calls"),
    [
        ("", ["2026-09-21", "2026-09-22"]),
        ("?by=key", ["k1", "k2"]),
        ("?by=prompt", ["greeter@7", "greeter@8"]),
        ("?from=2026-09-22&to=2026-09-23", ["2026-09-22"]),
        ("?prompt=greeter@8&by=prompt", ["greeter@8"]),
        ("?prompt=greeter&by=prompt", ["greeter@7", "greeter@8"]),
        ("?key=k1&by=key", ["k1"]),
        ("?call=rtc_one&by=key", ["k1"]),
        ("?key=nobody", []),
    ],
)
async def test_a_call_a_day_a_key_a_prompt_version(
    api: Served, query: str, calls: list[str]
) -> None:
    """Each is a filter; shares add up to the bill, and the bill is that of its calls."""
    status, report = await api.get(f"/v1/tax{query}")
    assert status == 200
    assert [share["name"] for share in report["shares"]] == calls
    assert report["calls"] == len(calls)
    paid = sum((Decimal(share["paid"]) for share in report["shares"]), Decimal(0))
    assert paid == Decimal(report["bill"]["paid"])
    assert {one["name"].split()[0] for one in report["rented"]} == {"OpenAI", "Vapi", "LiveKit"}


async def test_the_tax_is_the_cost_of_its_calls(api: Served) -> None:
    """Both ways into the record give the same money."""
    _, report = await api.get("/v1/tax")
    alone = [(await api.get(f"/v1/calls/{one}/cost"))[1] for one in ("rtc_one", "rtc_two")]
    bills = [Decimal(one["bill"]["paid"]) for one in alone]
    assert Decimal(report["bill"]["paid"]) == sum(bills)
    # 61.5 s and 120 s at 0.05 a minute
    (live,) = (one for one in report["rented"] if "GPT-Live" in one["name"])
    assert Decimal(live["rented"]) == Decimal("0.15125")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("?until=2026", "bad_filter"),
        ("?by=hour", "bad_filter"),
        ("?from=soon", "bad_filter"),
        ("?key=a&key=b", "bad_filter"),
        ("?call=rtc_one&key=k1", "bad_filter"),
        ("?call=nobody", "no_such_call"),
    ],
)
async def test_wrong_questions(api: Served, query: str, code: str) -> None:
    """Each is refused in words."""
    _, problem = await api.get(f"/v1/tax{query}")
    assert problem["code"] == code


def test_a_report_is_bounded(store: Store) -> None:
    """The newest calls come first, over pages and chunks; one more says that there are more."""
    store.write(
        [Teller(f"rtc_{n}", now_us=NOON_US + n).tell(placed=pb.Placed()) for n in range(1203)]
    )
    with store.reading() as connection:
        rows = reading.rows_of(connection, CallFilter(), most=1100)
        assert [row["call_id"] for row in rows] == [f"rtc_{n}" for n in range(1202, 101, -1)]
        assert len(reading.rows_of(connection, CallFilter())) == 1203
        found = [use.call_id for use in reading.uses(connection, rows)]
    assert found == [row["call_id"] for row in rows]


def test_the_command_knows_what_a_report_is_divided_by() -> None:
    """The command line may not import the record, so its list is compared here."""
    from cli.calls import tax

    assert [one.value for one in tax.By] == [one.value for one in By]


def test_a_mistake_in_the_prices_stops_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names the variable, the line and the key."""
    path = tmp_path / "prices.yaml"
    path.write_text("plumbing:\n  core_hour: cheap")
    monkeypatch.setenv("TRUNKLINE_RECORDS_STORE", f"sqlite:///{tmp_path}/records.db")
    monkeypatch.setenv("TRUNKLINE_RECORDS_PRICES", str(path))
    with pytest.raises(SystemExit):
        load(RecordsApiSettings, "records.api", [])
    said = capsys.readouterr().err
    assert "TRUNKLINE_RECORDS_PRICES" in said
    assert "line 2, plumbing.core_hour: this is a number" in said
