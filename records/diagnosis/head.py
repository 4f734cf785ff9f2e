"""Whose call it was, where it was, which model and prompt answered, and how it was set up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from records.diagnosis.facts import Facts, finite
from trunkline.v1 import record_pb2 as pb


@dataclass(frozen=True, slots=True)
class Setup:
    """When each step of the set-up was there, in ms after the call was placed; None: it was not."""

    answered_ms: float | None
    first_check_ms: float | None
    dtls_started_ms: float | None
    dtls_connected_ms: float | None
    connected_ms: float | None


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of a call as a whole; empty text is not known."""

    tenant: str
    key_id: str
    secret_id: str
    surface: str
    region: str
    cluster: int
    nodes: tuple[int, ...]
    network: str
    build: str
    voice_format: str
    backend: str
    backend_build: str
    model: str
    voice: str
    prompt_id: str
    prompt_version: str
    instructions_sha256: str
    tools: tuple[str, ...]
    recording_consent: bool | None
    setup: Setup


def head_of(facts: Facts) -> Head:
    """What the events of a call say of the whole of it; the newest word counts."""
    placed, session = _body(facts, "placed", pb.Placed), _body(facts, "session", pb.SessionSet)
    backends = [one.body.backend for one in facts.of("backend") if one.body.backend]
    models = [one.body.model for one in facts.of("usage") if one.body.model]
    return Head(
        tenant=placed.tenant,
        key_id=placed.key_id,
        secret_id=placed.secret_id,
        surface=placed.surface,
        region=placed.region,
        cluster=placed.cluster,
        nodes=_nodes(facts, placed),
        network=_network(facts),
        build=placed.build,
        voice_format=placed.voice_format,
        backend=backends[-1] if backends else placed.backend,
        backend_build=session.backend_build,
        model=models[-1] if models else session.model or placed.model,
        voice=session.voice,
        prompt_id=session.prompt_id,
        prompt_version=session.prompt_version,
        instructions_sha256=session.instructions_sha256,
        tools=tuple(session.tools),
        recording_consent=_consent(facts),
        setup=_setup(facts),
    )


def _body(facts: Facts, kind: str, empty: type[Any]) -> Any:
    """The newest body of a kind."""
    fact = facts.last(kind)
    return fact.body if fact else empty()


def _nodes(facts: Facts, placed: pb.Placed) -> tuple[int, ...]:
    """Every node on which the call was, in order."""
    moves = [one.body for one in facts.of("moved") if one.body.kind != pb.MOVE_KIND_LEFT]
    first = [placed.node] if facts.first("placed") else []
    return tuple(dict.fromkeys([*first, *(move.to_node for move in moves)]))


def _network(facts: Facts) -> str:
    networks = [one.body.network for one in facts.of("ice")]
    networks += [one.body.to_network for one in facts.of("path")]
    return next((network for network in reversed(networks) if network), "")


def _consent(facts: Facts) -> bool | None:
    given = [o.body.given for o in facts.of("consent") if o.body.to == pb.CONSENT_TO_RECORDING]
    return given[-1] if given else None


def _setup(facts: Facts) -> Setup:
    return Setup(
        answered_ms=_waited(facts, "answered"),
        first_check_ms=_waited(facts, "ice", pb.ICE_PHASE_FIRST_CHECK),
        dtls_started_ms=_waited(facts, "dtls", pb.DTLS_PHASE_STARTED),
        dtls_connected_ms=_waited(facts, "dtls", pb.DTLS_PHASE_CONNECTED),
        connected_ms=_waited(facts, "connected"),
    )


def _waited(facts: Facts, kind: str, phase: int | None = None) -> float | None:
    for fact in facts.of(kind):
        if phase is None or fact.body.phase == phase:
            return finite(fact.body.waited_ms)
    return None
