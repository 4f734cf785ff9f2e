"""The settings of a stack as environment variables: those that are set, and chosen ones."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from fleet import unknown_variables
from launcher.addresses import LOOPBACK, free_ports, outward_host, reachable
from launcher.errors import StartupError
from trunkline.process.address import MAX_PORT, Address, shown

PREFIX = "TRUNKLINE_"
KEY_BYTES = 32


@dataclass(frozen=True)
class Ports:
    """The ports of a stack, where the environment does not say otherwise."""

    relay: int = 3478  # RFC 8489 section 18.6: the port of STUN
    console: int = 8080
    relay_admin: int = 9101
    relay_metrics: int = 9102
    transceiver_admin: int = 9201
    backend: int = 9301
    backend_admin: int = 9401
    records_admin: int = 9501
    records_metrics: int = 9502
    records_api: int = 9503

    @classmethod
    def free(cls) -> Ports:
        """Choose ports that nobody has at this moment."""
        return cls(*free_ports(10))


def fill(given: Mapping[str, str], ports: Ports, *, loopback_only: bool) -> dict[str, str]:
    """Return all variables of the stack but the Redis URL; keys are random where none are given.

    With `loopback_only` the relay binds and advertises loopback. Else it serves on all addresses,
    and is also advertised at this machine's own one: a browser has no loopback candidate, and one
    that sends from the machine's address to 127.0.0.1 is answered from the machine's address,
    which ICE refuses (RFC 8445 section 7.2.5.2.1). Raises StartupError for an address that cannot
    be read.
    """
    chosen = {
        "TRUNKLINE_TOKEN_KEYS": f"1:{secrets.token_hex(KEY_BYTES)}",
        "TRUNKLINE_TRUNK_KEYS": f"1:{secrets.token_hex(KEY_BYTES)}",
        "TRUNKLINE_RELAY_HOST": LOOPBACK if loopback_only else "::",
        "TRUNKLINE_RELAY_PORT": str(ports.relay),
        "TRUNKLINE_RELAY_WORKERS": "2",
        "TRUNKLINE_RELAY_ADMIN": str(Address(LOOPBACK, ports.relay_admin)),
        "TRUNKLINE_RELAY_METRICS": str(Address(LOOPBACK, ports.relay_metrics)),
        "TRUNKLINE_BACKEND_LISTEN": str(Address(LOOPBACK, ports.backend)),
        "TRUNKLINE_BACKEND_ADMIN": str(Address(LOOPBACK, ports.backend_admin)),
        "TRUNKLINE_TRANSCEIVER_HTTP": str(Address(LOOPBACK, ports.console)),
        "TRUNKLINE_TRANSCEIVER_ADMIN": str(Address(LOOPBACK, ports.transceiver_admin)),
        "TRUNKLINE_TRANSCEIVER_API_KEYS": f"tl-{secrets.token_urlsafe(24)}",
        "TRUNKLINE_TRANSCEIVER_CONSOLE": "true",
        "TRUNKLINE_TRANSCEIVER_DRAIN_S": "0",  # Ctrl-C means now
        "TRUNKLINE_BACKEND_DRAIN_S": "0",
        "TRUNKLINE_RECORDS_ADMIN": str(Address(LOOPBACK, ports.records_admin)),
        "TRUNKLINE_RECORDS_METRICS": str(Address(LOOPBACK, ports.records_metrics)),
        "TRUNKLINE_RECORDS_API_HTTP": str(Address(LOOPBACK, ports.records_api)),
        **given,
    }
    chosen.setdefault("TRUNKLINE_RECORDS_API_KEYS", chosen["TRUNKLINE_TRANSCEIVER_API_KEYS"])
    chosen.setdefault("TRUNKLINE_TRANSCEIVER_BACKEND", _client_side(chosen))
    chosen.setdefault("TRUNKLINE_TRANSCEIVER_RELAYS", _advertised(chosen))
    return chosen


def given_in(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of an environment that are settings of the stack.

    Raises StartupError for a name that is no part's; what a part does not know of its own, it says
    itself.
    """
    if strange := unknown_variables.complaints(environ, ()):
        raise StartupError("; ".join(strange))
    given = {name: value for name, value in environ.items() if name.startswith(PREFIX)}
    if "REDIS_URL" in environ:
        given.setdefault("TRUNKLINE_REDIS_URL", environ["REDIS_URL"])
    return given


def without(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without any setting of the stack, for its processes to build on."""
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith(PREFIX) and name != "REDIS_URL"
    }


def of_part(variables: Mapping[str, str], *prefixes: str) -> dict[str, str]:
    """Return the settings a part needs and no more: its own, the named ones, how to log."""
    wanted = tuple(PREFIX + prefix for prefix in ("LOG_", *prefixes))
    return {name: value for name, value in variables.items() if name.startswith(wanted)}


def address_in(variables: Mapping[str, str], name: str) -> Address:
    """Read the address in a variable. Raises StartupError that names the variable and the rule."""
    try:
        return Address.parse(variables[name])
    except ValueError as error:
        raise StartupError(f"{name}: {error}") from None


def port_in(variables: Mapping[str, str], name: str) -> int:
    """Read the port in a variable. Raises StartupError that names the variable and the rule."""
    text = variables[name].strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= MAX_PORT):
        raise StartupError(f"{name}: {shown(text)} is not a port (0 to 65535)")
    return int(text)


def public_address(variables: Mapping[str, str]) -> Address:
    """Where the relay hears callers. Raises StartupError as `address_in` does."""
    port = port_in(variables, "TRUNKLINE_RELAY_PORT")
    try:
        return Address(variables["TRUNKLINE_RELAY_HOST"].strip(), port)
    except ValueError as error:
        raise StartupError(f"TRUNKLINE_RELAY_HOST: {error}") from None


def _client_side(variables: Mapping[str, str]) -> str:
    return str(reachable(address_in(variables, "TRUNKLINE_BACKEND_LISTEN")))


def _advertised(variables: Mapping[str, str]) -> str:
    outward = outward_host()
    public = public_address(variables)
    hosts = [LOOPBACK, *([outward] if outward else [])] if public.unspecified else [public.host]
    return ",".join(str(Address(host, public.port)) for host in dict.fromkeys(hosts))
