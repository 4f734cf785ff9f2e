"""The words of a call's end in record.proto: reasons of `states`, and causes."""

from __future__ import annotations

from trunkline.v1 import record_pb2 as pb

END_REASONS = {
    "hangup": pb.END_REASON_HANGUP,
    "client_closed": pb.END_REASON_CLIENT_CLOSED,
    "timeout": pb.END_REASON_TIMEOUT,
    "drained": pb.END_REASON_DRAINED,
    "failed": pb.END_REASON_FAILED,
    "operator": pb.END_REASON_OPERATOR,
    "refused": pb.END_REASON_REFUSED,
    "budget": pb.END_REASON_BUDGET,
}
# Where nothing more exact was told. A hangup that no backend asked for is the caller's DELETE.
CAUSES = {
    "hangup": pb.CAUSE_CALLER_HUNG_UP,
    "client_closed": pb.CAUSE_CALLER_HUNG_UP,
    "drained": pb.CAUSE_DRAINED,
    "failed": pb.CAUSE_FAULT,
    "operator": pb.CAUSE_OPERATOR,
    "refused": pb.CAUSE_BACKEND_REFUSED,
    "budget": pb.CAUSE_BUDGET_USED_UP,
}
# What is not here is CAUSE_DTLS_FAILED.
DTLS_CAUSES = {
    "timeout": pb.CAUSE_DTLS_TIMEOUT,
    "fingerprint_mismatch": pb.CAUSE_DTLS_FINGERPRINT,
}
