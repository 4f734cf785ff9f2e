"""Each cause is named by what says so, and a healthy call has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from records.diagnosis.causes import NEARBY, TITLES, WEAK, Cause
from records.diagnosis.facts import Before
from records.diagnosis.finding import MAX_EVIDENCE
from records.diagnosis.story import tell
from tests.records.diagnosis.kit import BEGAN_US, IN, OUT, Call, begun, healthy, talked
from trunkline.v1 import record_pb2 as pb

CHANGED = Before(prompt_changed_us=BEGAN_US - 47 * 60 * 1_000_000)


def _told_late(call: Call) -> None:
    fault = pb.ModelFault(stage="llm", kind="late", model="m-1", after_ms=8000)
    call.at(20, model_fault=fault)


def _dtls(call: Call) -> None:
    call.at(20, dtls=pb.DtlsStep(phase=pb.DTLS_PHASE_FAILED, reason="no_srtp_profile"))


def _killed(call: Call) -> None:
    call.at(20, backend=pb.BackendStep(phase=pb.BACKEND_PHASE_LOST, backend="voice"))
    call.at(20.1, model_fault=pb.ModelFault(stage="upstream", kind="broke_off"))


def _rate(call: Call) -> None:
    call.at(20, model_fault=pb.ModelFault(stage="llm", kind="rate_limit"))
    call.turn(22, 3, failed="llm: rate_limited", out_ms=None)


def _tool_never_ends(call: Call) -> None:
    tool = pb.Tool(name="track", tool_call_id="c1", outcome=pb.TOOL_OUTCOME_STARTED)
    call.at(20, tool=tool)


def _moved(kind: Any) -> Callable[[Call], None]:
    def move(call: Call) -> None:
        other = "transceiver-3-b"
        call.at(20, moved=pb.Moved(kind=kind, from_node=17, to_node=3, gap_ms=400), source=other)
        call.at(20.2, gap=pb.Gap(direction=IN, length_ms=4000, over=True), source=other)

    return move


def _path(call: Call) -> None:
    path = pb.PathChanged(from_network="198.51.100.0/24", to_network="203.0.113.0/24")
    call.at(20, path=path)
    call.media(25, IN, packets=400, lost=100)


def _ended(reason: Any, cause: Any) -> Callable[[Call], None]:
    return lambda call: call.ends(45, reason, cause)


def _cut(call: Call) -> None:
    call.turn(44, 3, final=False)
    call.ends(45)


def _queued(call: Call) -> None:
    call.media(45, OUT, waiting_frames=120)
    call.ends(45)


def _unanswered_hang_up(call: Call) -> None:
    call.item(43, "u3", pb.ROLE_USER, "Hello?")
    call.ends(45)


def _said_nothing(call: Call) -> None:
    call.turn(20, 3, **dict.fromkeys(("heard_ms", "first_words_ms", "first_sound_ms", "out_ms")))


def _skips_numbers(call: Call) -> None:
    call.at(20, gap=pb.Gap(direction=IN, length_ms=70, over=True)).number += 5


def _late_tts(call: Call) -> None:
    call.turn(20, 3, first_sound_ms=6000.0, sent_ms=6001.0, out_ms=6010.0)


def _late_unstaged(call: Call) -> None:
    nothing = dict.fromkeys(("heard_ms", "first_words_ms", "first_sound_ms", "sent_ms"))
    call.turn(20, 3, out_ms=9000.0, **nothing)


def _network_gap(call: Call) -> None:
    body = pb.Gap(direction=IN, length_ms=4000, over=True, kind=pb.GAP_KIND_LOST)
    call.at(20, gap=body)


def _gap(call: Call) -> None:
    call.at(20, gap=pb.Gap(direction=IN, length_ms=3000))


def _tool(outcome: Any, duration_ms: float) -> Callable[[Call], None]:
    def tool(call: Call) -> None:
        body = pb.Tool(name="t", tool_call_id="c", outcome=outcome, duration_ms=duration_ms)
        call.at(20, tool=body)
        call.turn(21, 3, tool_started_ms=300.0, tool_ended_ms=300 + duration_ms, out_ms=9000.0)

    return tool


TROUBLES: list[tuple[Cause, Callable[[Call], Any]]] = [
    (Cause.LATE_MODEL, _told_late),
    (Cause.LATE_MODEL, lambda call: call.turn(20, 3, first_words_ms=4000.0, out_ms=4200.0)),
    (Cause.LATE_MODEL, _late_tts),
    (Cause.LATE_MODEL, _late_unstaged),
    (Cause.LATE_MODEL, lambda call: call.turn(20, 3, failed="llm: timeout", out_ms=None)),
    (Cause.LATE_MODEL, lambda call: call.item(20, "u3", pb.ROLE_USER, "Hello?")),
    (
        Cause.MODEL_BROKE_OFF,
        lambda call: call.at(20, model_fault=pb.ModelFault(stage="llm", kind="broke_off")),
    ),
    (Cause.MODEL_BROKE_OFF, lambda call: call.turn(20, 3, failed="tts: unreachable")),
    (Cause.MODEL_BROKE_OFF, _ended(pb.END_REASON_FAILED, pb.CAUSE_MODEL_FAILED)),
    (Cause.HANGING_TOOL, _tool_never_ends),
    (Cause.HANGING_TOOL, _tool(pb.TOOL_OUTCOME_TIMED_OUT, 10_000)),
    (Cause.HANGING_TOOL, _tool(pb.TOOL_OUTCOME_OK, 7_000)),
    (
        Cause.STT_HEARD_NOTHING,
        lambda call: call.at(20, model_fault=pb.ModelFault(stage="stt", kind="empty")),
    ),
    (Cause.STT_HEARD_NOTHING, _said_nothing),
    (Cause.LOSS_IN, lambda call: call.media(20, IN, packets=450, lost=50)),
    (Cause.LOSS_IN, _network_gap),
    (Cause.LOSS_OUT, lambda call: call.media(20, OUT, packets=500, lost=60)),
    (Cause.PATH_CHANGED, _path),
    (Cause.BROWSER_STOPPED, _gap),
    (Cause.BROWSER_STOPPED, lambda call: call.media(20, IN, packets=0, longest_silence_ms=9000)),
    (Cause.BROWSER_STOPPED, _ended(pb.END_REASON_TIMEOUT, pb.CAUSE_CALLER_WENT_SILENT)),
    (Cause.BACKEND_KILLED, _killed),
    (Cause.BACKEND_KILLED, _ended(pb.END_REASON_FAILED, pb.CAUSE_BACKEND_LOST)),
    (Cause.BACKEND_REFUSED, _ended(pb.END_REASON_REFUSED, pb.CAUSE_BACKEND_REFUSED)),
    (Cause.NODE_MOVED, _moved(pb.MOVE_KIND_PLANNED)),
    (Cause.NODE_MOVED, _moved(pb.MOVE_KIND_CRASH)),
    (Cause.NODE_MOVED, _ended(pb.END_REASON_LOST, pb.CAUSE_PROCESS_DIED)),
    (
        Cause.BUDGET_USED_UP,
        lambda call: call.at(20, budget=pb.Budget(subject="key/k_1", used_up=True)),
    ),
    (Cause.CALLER_HUNG_UP, _cut),
    (Cause.CALLER_HUNG_UP, _queued),
    (Cause.CALLER_HUNG_UP, _unanswered_hang_up),
    (Cause.DTLS_FAILED, _dtls),
    (Cause.DTLS_FAILED, _ended(pb.END_REASON_FAILED, pb.CAUSE_DTLS_TIMEOUT)),
    (Cause.RATE_LIMITED, _rate),
    (
        Cause.RATE_LIMITED,
        lambda call: call.at(20, model_fault=pb.ModelFault(stage="rate", kind="limit_exceeded")),
    ),
    (Cause.OWN_FAULT, lambda call: call.at(20, fault=pb.Fault(kind="KeyError"))),
    (Cause.RECORD_HOLE, lambda call: call.at(20, hole=pb.Hole(first=9, last=12))),
    (Cause.RECORD_HOLE, _skips_numbers),
]


@pytest.mark.parametrize(("cause", "trouble"), TROUBLES)
def test_trouble_is_named(cause: Cause, trouble: Callable[[Call], Any]) -> None:
    """One trouble in a healthy call is named, with events of the call that say so."""
    call = healthy()
    trouble(call)
    named = call.story().diagnosis
    assert named.cause == cause.value
    keys = {(one.source, one.number) for one in call.events}
    assert named.evidence
    assert {(one.source, one.number) for one in named.evidence} <= keys
    assert named.also == ()


def test_every_cause_has_a_title_and_a_test() -> None:
    """The list is closed: each has words, and each is found above or below."""
    assert set(TITLES) == set(Cause)
    others = {Cause.PROMPT_CHANGED, Cause.NOTHING_WRONG}
    assert {cause for cause, _ in TROUBLES} | others == set(Cause)


def _never_spoke() -> Call:
    call = begun()
    call.media(10, IN, packets=500)
    call.ends(15)
    return call


def _goodbye() -> Call:
    call = healthy()
    talked(call, 38, 3)
    call.ends(43)
    return call


def _impatient() -> Call:
    """Somebody who talks into an answer, and waits for the next one."""
    call = healthy()
    talked(call, 20, 3, interrupted=True)
    talked(call, 25, 4)
    call.ends(40)
    return call


def _all_at_the_bounds() -> Call:
    call = healthy()
    call.media(30, IN, packets=980, lost=20, longest_silence_ms=400)
    call.media(30, OUT, packets=1000, lost=20, waiting_frames=10)
    call.at(31, gap=pb.Gap(direction=IN, length_ms=900, over=True))
    call.at(31, gap=pb.Gap(direction=OUT, length_ms=9000, over=True))
    call.turn(32, 3, first_words_ms=1500.0, out_ms=1900.0)
    call.turn(36, 4, tool_started_ms=300.0, tool_ended_ms=4300.0, first_words_ms=4700.0)
    call.at(36, tool=pb.Tool(name="t", outcome=pb.TOOL_OUTCOME_OK, duration_ms=4000))
    return call


def _never_sent() -> Call:
    """Somebody who types, and has no microphone; packets of others that were held up."""
    call = begun()
    for second in (10, 20):
        call.media(second, IN, packets=0, longest_silence_ms=10_000)
    held_up = pb.Gap(direction=IN, length_ms=4000, over=True, kind=pb.GAP_KIND_DELAYED)
    call.at(25, gap=held_up)
    return call


def _two_candidates() -> Call:
    call = healthy()
    path = pb.PathChanged(from_network="10.0.0.0/24", to_network="198.51.100.0/24")
    call.at(1, path=path)
    return call


def _operator() -> Call:
    call = healthy()
    call.ends(40, pb.END_REASON_OPERATOR, pb.CAUSE_OPERATOR)
    return call


@pytest.mark.parametrize(
    "made",
    [
        *(healthy, begun, _never_spoke, _goodbye, _impatient, _all_at_the_bounds),
        *(_two_candidates, _never_sent, _operator, Call),
    ],
)
def test_nothing_is_named_where_nothing_is_wrong(made: Callable[[], Call]) -> None:
    """Healthy calls, live and ended, however they went."""
    diagnosis = made().story().diagnosis
    assert (diagnosis.cause, diagnosis.also, diagnosis.follows) == ("nothing_wrong", (), ())


def test_what_follows_is_not_the_cause() -> None:
    """A backend that was killed makes its model break off and its caller hang up."""
    call = healthy()
    _killed(call)
    _unanswered_hang_up(call)
    diagnosis = call.story().diagnosis
    assert diagnosis.cause == "backend_killed"
    assert {one.cause for one in diagnosis.follows} == {"model_broke_off", "caller_hung_up"}


def test_what_is_far_apart_does_not_follow() -> None:
    """Loss a minute after a path changed is trouble of its own."""
    call = healthy(120)
    _path(call)
    call.media(100, IN, packets=300, lost=200)
    diagnosis = call.story().diagnosis
    assert diagnosis.cause == "path_changed"
    assert [one.cause for one in diagnosis.also] == ["loss_in"]


def test_a_tool_is_not_the_models_lateness() -> None:
    """An answer that waited for a tool is as late as the tool."""
    call = healthy()
    _tool(pb.TOOL_OUTCOME_OK, 7_000)(call)
    diagnosis = call.story().diagnosis
    assert [diagnosis.cause, *(one.cause for one in diagnosis.also)] == ["hanging_tool"]


def test_a_changed_prompt_is_named_when_callers_are_unhappy() -> None:
    """Interrupted answers after a change; nothing else explains them."""
    call = begun()
    for number in range(1, 4):
        talked(call, 5 * number, number, interrupted=number > 1)
    call.ends(25)
    named = call.story(CHANGED).diagnosis
    assert named.cause == "prompt_changed"
    assert "47 minutes" in named.sentence
    assert call.story().diagnosis.cause == "caller_hung_up"


def test_a_changed_prompt_is_not_named_in_a_good_call() -> None:
    """Nor is one that was changed long ago."""
    assert _goodbye().story(CHANGED).diagnosis.cause == "nothing_wrong"
    call = healthy()
    _cut(call)
    long_ago = Before(prompt_changed_us=BEGAN_US - 3 * 3600 * 1_000_000)
    assert call.story(long_ago).diagnosis.cause == "caller_hung_up"


def test_speech_without_a_word_is_recognitions_fault() -> None:
    """Sound came for 20 s, a conversation was set up, and nobody was understood; an echo is not
    meant to understand."""
    call, echo = begun(), Call()
    for second in (10, 20):
        call.media(second, IN, level_dbov=-25)
        echo.media(second, IN, level_dbov=-25)
    assert call.story().diagnosis.cause == "stt_heard_nothing"
    assert echo.story().diagnosis.cause == "nothing_wrong"


def test_evidence_is_bounded() -> None:
    """However often something happens, a screen has room for it."""
    call = healthy()
    for second in range(50):
        call.media(50 + second, IN, packets=300, lost=200)
    assert len(call.story().diagnosis.evidence) == MAX_EVIDENCE


def test_no_cause_explains_itself_in_a_ring() -> None:
    """Or two findings would hide each other, and nothing would be named."""
    left = {cause: set(follows) for cause, follows in NEARBY.items()}
    while ends := [one for one, follows in left.items() if not follows & left.keys()]:
        for one in ends:
            del left[one]
    assert left == {}
    assert not WEAK & NEARBY.keys()


def test_order_does_not_matter() -> None:
    """Events that come late are where they belong."""
    call = healthy()
    _killed(call)
    call.ends(45)
    assert tell(reversed(call.events), call.contents) == call.story()
