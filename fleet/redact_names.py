"""The second line of defence: values under well-known names are redacted."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fleet.redact import UNREADABLE, redact_network, redact_transcript, redact_ufrag
from fleet.redacted_types import Redacted

_ADDRESS_KEYS = frozenset(
    {"client", "client_address", "client_host", "remote", "remote_address", "peer", "ip", "source"}
)
_UFRAG_KEYS = frozenset({"ufrag", "ice_ufrag", "local_ufrag", "remote_ufrag", "username"})
_TRANSCRIPT_KEYS = frozenset(
    {"transcript", "text", "utterance", "prompt", "sdp", "offer", "answer", "candidate"}
)
_SECRET_KEYS = frozenset(
    {"password", "pwd", "secret", "token", "key", "keys", "authorization", "cookie", "redis_url"}
)
_SECRET_ENDINGS = ("_password", "_pwd", "_secret", "_token", "_key", "_keys")
_MAX_DEPTH = 4


def redact_by_name(name: str, value: object, depth: int = 0) -> object:
    """`value` as it may be logged under `name`: by its type, then by its name, then inside.

    The second line of defence: a caller should have used a Redacted type. Containers are followed
    4 deep; what lies deeper is not printed.
    """
    if isinstance(value, Redacted):
        return value.redacted()
    if value is None or isinstance(value, bool):
        return value
    rule = _rule(name.lower())
    return rule(value) if rule else _inside(name, value, depth)


def _rule(name: str) -> Callable[[object], str] | None:
    if name in _SECRET_KEYS or name.endswith(_SECRET_ENDINGS):
        return lambda _: "***"
    if name in _ADDRESS_KEYS:
        return _address_value
    if name in _UFRAG_KEYS:
        return lambda value: redact_ufrag(value) if isinstance(value, str) else "***"
    if name in _TRANSCRIPT_KEYS:
        return lambda value: redact_transcript(value) if isinstance(value, str) else "***"
    return None


def _inside(name: str, value: object, depth: int) -> object:
    if isinstance(value, Mapping | list | tuple | set | frozenset) and depth >= _MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return {str(k): redact_by_name(str(k), v, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact_by_name(name, item, depth + 1) for item in value]
    return value


def _address_value(value: object) -> str:
    if isinstance(value, list | tuple) and value:
        value = value[0]
    text = str(value)
    network = redact_network(text.strip("[]"))
    if network == UNREADABLE:
        network = redact_network(text.rpartition(":")[0].strip("[]"))
    return network
