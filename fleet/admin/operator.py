"""What operators send over the admin API: who asks and why, keys, deadlines.

ValueError
├── BadWhy       a reason that is too long for a log line
├── BadDeadline  more than a day
└── BadKeys      text that is no key ring; never quotes any of it
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any
from urllib.parse import unquote

from pydantic import TypeAdapter, ValidationError

from fleet.admin.access import Operator
from fleet.fields import Keys
from fleet.redact import redact_text
from fleet.redacted_types import ClientAddress
from wire.keys import KeyRing

MAX_WHY_CHARS = 200
LONGEST_DEADLINE_S = 24 * 3600

# Set by `fleet.admin.guard` for the length of a call.
operator_now: ContextVar[Operator | None] = ContextVar("operator_now", default=None)

_KEYS: TypeAdapter[KeyRing] = TypeAdapter(Keys)


class BadWhy(ValueError):  # noqa: N818 - as fleet.errors names them
    """A reason longer than MAX_WHY_CHARS."""


class BadDeadline(ValueError):  # noqa: N818
    """A deadline later than LONGEST_DEADLINE_S from now."""


class BadKeys(ValueError):  # noqa: N818
    """Text that is no key ring."""


def who(peer: str) -> ClientAddress | str:
    """Who is asking: the name the guard found out, or else the address in `peer`."""
    operator = operator_now.get()
    return operator.name if operator else ClientAddress(host_of(peer))


def host_of(peer: str) -> str:
    """The IP address in `ServicerContext.peer()` (`ipv4:192.0.2.1:5`, `ipv6:[::1]:5`), or empty."""
    family, _, address = unquote(peer).partition(":")
    host = address.rpartition(":")[0] if family in {"ipv4", "ipv6"} else ""
    return host.strip("[]")


def why(text: str) -> str:
    """A reason fit for the log: one line, addresses cut short. Raises BadWhy."""
    if len(text) > MAX_WHY_CHARS:
        raise BadWhy(f"why may have at most {MAX_WHY_CHARS} characters")
    return redact_text(" ".join(text.split()))


def deadline(seconds: int) -> float:
    """The seconds of a request's `deadline_s`; 0 is none. Raises BadDeadline."""
    if seconds > LONGEST_DEADLINE_S:
        raise BadDeadline(f"deadline_s may be at most {LONGEST_DEADLINE_S}")
    return float(seconds)


def key_ring(text: str, name: str) -> KeyRing:
    """The ring in `text`, written as in the settings. Raises BadKeys, which names `name` alone."""
    try:
        return _KEYS.validate_python(text)
    except ValidationError as error:
        context: dict[str, Any] = error.errors(include_input=False)[0].get("ctx", {})
        raise BadKeys(f"{name}: {context.get('error', 'not a key ring')}") from None


def key_ids(ring: KeyRing) -> list[int]:
    """The ids of a ring, the current one first."""
    return [ring.current, *sorted(key_id for key_id in ring.keys if key_id != ring.current)]
