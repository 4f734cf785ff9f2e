"""What the end of a call says by itself."""

from __future__ import annotations

from collections.abc import Iterator

from records.diagnosis.causes import Cause
from records.diagnosis.facts import Fact, Facts
from records.diagnosis.finding import Finding, Strength
from trunkline.v1 import record_pb2 as pb

# A second of sound that still waited: somebody hung up on an answer, and not after it. Less may
# wait at any time, since backends send ahead.
UNHEARD_FRAMES = 50

_ENDS: dict[int, tuple[Cause, str]] = {
    pb.CAUSE_CALLER_NEVER_CAME: (
        Cause.BROWSER_STOPPED,
        "The caller never came: no connectivity check of theirs arrived.",
    ),
    pb.CAUSE_CALLER_WENT_SILENT: (
        Cause.BROWSER_STOPPED,
        "Nothing came from the caller any more, and the call ended for that.",
    ),
    pb.CAUSE_DTLS_TIMEOUT: (Cause.DTLS_FAILED, "The DTLS handshake did not finish in time."),
    pb.CAUSE_DTLS_FINGERPRINT: (
        Cause.DTLS_FAILED,
        "The caller's certificate was not the one that its offer named.",
    ),
    pb.CAUSE_DTLS_FAILED: (Cause.DTLS_FAILED, "The DTLS handshake failed."),
    pb.CAUSE_BACKEND_REFUSED: (Cause.BACKEND_REFUSED, "The backend did not take the call."),
    pb.CAUSE_BACKEND_LOST: (
        Cause.BACKEND_KILLED,
        "The stream to the backend broke, and the call ended with it.",
    ),
    pb.CAUSE_MODEL_FAILED: (
        Cause.MODEL_BROKE_OFF,
        "The backend ended the call because its model failed.",
    ),
    pb.CAUSE_BUDGET_USED_UP: (
        Cause.BUDGET_USED_UP,
        "The budget of the key or of the model was used up, and the call ended for that.",
    ),
    pb.CAUSE_DRAINED: (
        Cause.NODE_MOVED,
        "The process of the call was about to go, and the call ended with it.",
    ),
    pb.CAUSE_PROCESS_DIED: (
        Cause.NODE_MOVED,
        "The process of the call died, and no other one went on with the call.",
    ),
    pb.CAUSE_FAULT: (Cause.OWN_FAULT, "Something in Trunkline failed, and the call ended for it."),
}


def ended_by(facts: Facts) -> Iterator[Finding]:
    """The cause that the process wrote down when it ended the call."""
    ended = facts.last("ended")
    known = _ENDS.get(ended.body.cause) if ended else None
    if ended and known:
        cause, sentence = known
        word = pb.Cause.Name(ended.body.cause).removeprefix("CAUSE_").lower()
        evidence = (ended.says(f"the call ended: {word}"),)
        yield Finding(cause, Strength.ENDED, 1.0, sentence, evidence)


def hung_up_in_the_middle(facts: Facts) -> Iterator[Finding]:
    """The caller ended the call while an answer was due, or was being heard."""
    ended = facts.last("ended")
    if ended is None or not _by_caller(ended.body):
        return
    for fact, words in _unfinished(facts):
        evidence = (fact.says(words), ended.says("the caller ended the call"))
        sentence = "The caller hung up before the answer was over."
        yield Finding(Cause.CALLER_HUNG_UP, Strength.SAID, 0.5, sentence, evidence)


def _by_caller(ended: pb.Ended) -> bool:
    """The cause is more exact than the reason, where there is one."""
    known = ended.cause != pb.CAUSE_UNSPECIFIED
    return (
        ended.cause == pb.CAUSE_CALLER_HUNG_UP
        if known
        else ended.reason == pb.END_REASON_CLIENT_CLOSED
    )


def _unfinished(facts: Facts) -> Iterator[tuple[Fact, str]]:
    turns = facts.turns()
    if turns and (turns[-1].body.interrupted or not turns[-1].body.final):
        yield turns[-1], f"turn {turns[-1].body.turn} was not heard to its end"
    to_caller = [one for one in facts.of("media") if one.body.direction == pb.DIRECTION_TO_CALLER]
    if to_caller and to_caller[-1].body.waiting_frames >= UNHEARD_FRAMES:
        waiting = to_caller[-1].body.waiting_frames
        yield to_caller[-1], f"{waiting} frames of sound were still to be heard"
    question = _last_question(facts)
    if question is not None:
        yield question, "the caller's last words had no answer yet"


def _last_question(facts: Facts) -> Fact | None:
    """The caller's last item, when nothing of the conversation followed it."""
    items = facts.items()
    last = items[-1][1] if items else None
    answered = last is not None and any(turn.wall_us >= last.wall_us for turn in facts.of("turn"))
    return last if last and last.body.role == pb.ROLE_USER and not answered else None
