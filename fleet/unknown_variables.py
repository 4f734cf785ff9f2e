"""Variables of the environment that nobody reads: a name that was mistyped is said, not ignored.

Processes of a fleet often share an environment. So each answers for its own family of names
(`TRUNKLINE_RELAY_…`) and for names of no family, and leaves those of other families to others.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping

from trunkline.process.address import shown

PREFIX = "TRUNKLINE_"
FAMILIES = ("RELAY_", "TRANSCEIVER_", "BACKEND_", "RECORDS_API_", "RECORDS_", "LOADTEST_", "FUZZ_")
# Read by commands, which people run in the same shell.
OF_COMMANDS = frozenset(
    PREFIX + name
    for name in (
        *("ADMIN", "ADMIN_CA", "ADMIN_TLS_CERT", "ADMIN_TLS_KEY", "ADMIN_TOKEN", "API_KEY", "URL"),
        *("RELAY_ADMINS", "BACKEND_ADMINS", "RECORDS_URL", "ARTIFACTS"),
    )
)
# Of every process that has an admin port, or is one of a fleet.
OF_THE_FLEET = frozenset(
    PREFIX + name
    for name in (
        *("LOG_LEVEL", "LOG_FORMAT", "ADMIN_TOKENS", "ADMIN_HEALTH", "ADMIN_CLIENT_CA"),
        *("CLUSTER", "TOKEN_KEYS", "TRUNK_KEYS", "REDIS_URL"),
    )
)
# What Kubernetes puts into a Pod for each Service whose name begins like our variables.
_OF_SERVICES = re.compile(
    r"TRUNKLINE_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)?)"
)
_SERVICE_URL = re.compile(r"(tcp|udp)://")


def complaints(environ: Mapping[str, str], known: Collection[str]) -> list[str]:
    """A line for each variable that a process which reads `known` should know and does not."""
    families = {family for family in map(_family, known) if family}
    every = {*known, *OF_COMMANDS, *OF_THE_FLEET}
    return [
        _line(name, every)
        for name, value in sorted(environ.items())
        if name.startswith(PREFIX)
        and name not in every
        and _family(name) in {None, *families}
        and not _is_of_a_service(name, value)
    ]


def _family(name: str) -> str | None:
    rest = name.removeprefix(PREFIX)
    return next((family for family in FAMILIES if rest.startswith(family)), None)


def _is_of_a_service(name: str, value: str) -> bool:
    found = _OF_SERVICES.fullmatch(name)
    # A variable of ours may end in _PORT too: theirs hold a URL.
    return bool(found and (not name.endswith("_PORT") or _SERVICE_URL.match(value)))


def _line(name: str, every: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, sorted(every), n=1)
    hint = f"; is {nearest[0]} meant?" if nearest else "; see --help"
    return f"{shown(name, 100)}: no variable of this version{hint}"
