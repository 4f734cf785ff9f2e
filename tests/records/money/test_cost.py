"""One call by hand: which figure belongs to which layer, and what is not known."""

from __future__ import annotations

from decimal import Decimal

from records.money.book import Book, Offer, Price
from records.money.call_use import Answer, CallUse, Report
from records.money.cost import bill_of, cost_of
from records.money.layers import Layer
from records.money.lines import Known
from records.money.rent import rented


def price(listed: str, paid: str = "") -> Price:
    return Price(Decimal(listed), Decimal(paid or listed))


BOOK = Book(
    "EUR",
    {("openai", "gpt-x"): {"audio_input_tokens": price("0.00001", "0.000008")}},
    {"core_hour": price("0.01"), "egress_gigabyte": price("0.001", "0.0005")},
    {"relay_core_ms_per_call_minute": Decimal(100)},
    (
        Offer("all", Decimal("0.5"), True, "2026-11-29", "s", ""),
        Offer("pipes", Decimal("0.4"), False, "2026-11-29", "s", ""),
        Offer("unknown", None, False, "2026-11-29", "s", ""),
    ),
    Decimal(100),
)
USE = CallUse(
    "c",
    lasted_s=120,
    cpu_s=2,
    bytes_to_caller=100,
    record_bytes=50,
    events=7,
    reports=(Report("openai", "gpt-x-2026-05-01", {"audio_input_tokens": 1000}),),
    answers=(Answer(500, 200, 450, 60), Answer(300, None, None, None)),
    move_gaps_ms=(35.0,),
)


def test_each_figure_is_in_its_layer() -> None:
    """Core-seconds and bytes in transport, tokens in the model, list and paid apart."""
    bill = bill_of(cost_of(USE, BOOK), "EUR")
    by_layer = {one.layer: one for one in bill.layers}
    transport = by_layer[Layer.TRANSPORT]
    # 2 core-seconds of the transceiver, 0.2 of the relay at 0.01; 100 bytes.
    assert (transport.list, transport.paid) == (Decimal("0.122"), Decimal("0.072"))
    model = by_layer[Layer.MODEL]
    assert (model.list, model.paid) == (Decimal("0.01"), Decimal("0.008"))
    assert (bill.list, bill.paid) == (Decimal("0.132"), Decimal("0.08"))
    assert by_layer[Layer.SCALING].silence_ms == 35
    assert (transport.priced, transport.unknown) == (3, 1)
    assert (by_layer[Layer.SCALING].priced, by_layer[Layer.LATENCY].unknown) == (0, 0)


def test_the_time_of_an_answer_is_divided() -> None:
    """200 ms until the turn was over and 50 ms out, 250 ms of the model, 60 ms of network; the
    second answer has no stages. Each is half of the mean."""
    bill = bill_of(cost_of(USE, BOOK), "EUR")
    found = {one.layer: one.ms_per_answer for one in bill.layers}
    assert found[Layer.TRANSPORT] == 30
    assert found[Layer.LATENCY] == 125
    assert found[Layer.MODEL] == 125
    assert (bill.unexplained_ms, bill.answer_ms) == (150, 430)


def test_what_is_not_known_is_said() -> None:
    """No price, no meter: a line without money, and a sentence for it."""
    bill = bill_of(cost_of(USE, BOOK), "EUR")
    known = {line.what: line.known for line in bill.lines}
    assert known["relay"] is Known.ESTIMATED
    assert known["recorder"] is Known.NOT_MEASURED
    assert known["place in Redis"] is Known.NO_PRICE
    assert known["between regions"] is Known.NOT_MEASURED
    assert "scaling: place in Redis, the book has no price for it" in bill.not_known
    silent = bill_of(cost_of(CallUse("c"), BOOK), "EUR")
    assert "model: no backend reported usage, nothing measures it" in silent.not_known


def test_a_backend_that_knows_its_price_is_believed() -> None:
    """Also when it is nothing; the list price stays the book's."""
    for paid in (0.5, 0.0):
        report = Report("openai", "gpt-x", {"audio_input_tokens": 1000}, paid)
        (line,) = (
            x
            for x in cost_of(CallUse("c", reports=(report,)), BOOK).lines
            if x.layer is Layer.MODEL
        )
        assert (line.known, line.list, line.paid) == (
            Known.REPORTED,
            Decimal("0.01"),
            Decimal(repr(paid)),
        )


def test_rented_beside_ours() -> None:
    """The same minutes; the break-even is what the fleet costs by what a minute saves."""
    whole, pipes, unknown = rented(cost_of(USE, BOOK), BOOK)
    assert (whole.rented, whole.ours) == (Decimal(1), Decimal("0.08"))
    # 100 / ((1 - 0.08) / 2)
    assert whole.break_even_minutes == 218
    assert "not known are left out" in whole.break_even
    assert (pipes.rented, pipes.ours) == (Decimal("0.8"), Decimal("0.072"))
    assert (unknown.rented, unknown.break_even_minutes) == (None, None)
    assert unknown.break_even == "There is no figure with a source."
