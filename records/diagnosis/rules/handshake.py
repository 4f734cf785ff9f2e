"""A DTLS handshake that failed."""

from __future__ import annotations

from collections.abc import Iterator

from records.diagnosis.causes import Cause
from records.diagnosis.facts import Facts
from records.diagnosis.finding import Finding, Strength
from trunkline.v1 import record_pb2 as pb


def dtls_failed(facts: Facts) -> Iterator[Finding]:
    """The step that failed, with the transceiver's word for why."""
    for fact in facts.of("dtls"):
        if fact.body.phase == pb.DTLS_PHASE_FAILED:
            why = fact.body.reason or "no reason is recorded"
            sentence = f"The DTLS handshake failed ({why}), so no sound could flow."
            evidence = (fact.says(f"DTLS failed: {why}"),)
            yield Finding(Cause.DTLS_FAILED, Strength.SAID, 1.0, sentence, evidence)
