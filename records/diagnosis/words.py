"""What the closed lists of record.proto mean, in words for people."""

from __future__ import annotations

from typing import Any

from trunkline.v1 import record_pb2 as pb

LIVE = "The call is live."

_CAUSES = {
    pb.CAUSE_CALLER_HUNG_UP: "The caller ended it.",
    pb.CAUSE_CALLER_NEVER_CAME: "The caller never came after the offer.",
    pb.CAUSE_CALLER_WENT_SILENT: "Nothing was heard from the caller any more.",
    pb.CAUSE_DTLS_TIMEOUT: "The DTLS handshake took too long.",
    pb.CAUSE_DTLS_FINGERPRINT: "The caller's certificate was not the one of its offer.",
    pb.CAUSE_DTLS_FAILED: "The DTLS handshake failed.",
    pb.CAUSE_BACKEND_HUNG_UP: "The backend ended it.",
    pb.CAUSE_BACKEND_REFUSED: "The backend did not take it.",
    pb.CAUSE_BACKEND_LOST: "The stream to the backend broke.",
    pb.CAUSE_MODEL_FAILED: "The backend said that its model failed.",
    pb.CAUSE_BUDGET_USED_UP: "A budget was used up.",
    pb.CAUSE_OPERATOR: "An operator ended it.",
    pb.CAUSE_DRAINED: "Its process was about to go.",
    pb.CAUSE_FAULT: "Something in Trunkline failed.",
    pb.CAUSE_SESSION_TOO_LONG: "It was as long as a call may be.",
    pb.CAUSE_PROCESS_DIED: "Its process died, and nobody wrote its end.",
}
_REASONS = {
    pb.END_REASON_HANGUP: "The backend ended it.",
    pb.END_REASON_CLIENT_CLOSED: "The caller ended it.",
    pb.END_REASON_TIMEOUT: "The caller was not heard any more, or never.",
    pb.END_REASON_DRAINED: "Its process was about to go.",
    pb.END_REASON_FAILED: "Something failed.",
    pb.END_REASON_OPERATOR: "An operator ended it.",
    pb.END_REASON_REFUSED: "The backend did not take it.",
    pb.END_REASON_BUDGET: "A budget was used up.",
    pb.END_REASON_LOST: "Its process died, and nobody went on with it.",
}


def end_in_words(ended: pb.Ended) -> str:
    """Why a call ended, as one sentence: by the cause, or by the reason when there is none."""
    return _CAUSES.get(ended.cause) or _REASONS.get(ended.reason) or "Nobody recorded why it ended."


def word(enum: Any, number: int, prefix: str) -> str:
    """`END_REASON_HANGUP` as `hangup`; "" for what is not set, the number for what is not known."""
    if number == 0:
        return ""
    known = enum.DESCRIPTOR.values_by_number.get(number)
    return known.name.removeprefix(prefix).lower() if known else str(number)
